// CSV files, read without loss and written so that no spreadsheet takes a text for a formula.

// Rows as {line, fields}, the names first. Quoted fields may hold commas, quotes ("") and line breaks; a semicolon or
// tab may part fields.
export const parsed = (text) => {
  const head = text.slice(0, Math.max(0, text.search(/\r?\n|$/))).replace(/"[^"]*"/g, "");
  const mark = [",", ";", "\t"].sort((a, b) => head.split(b).length - head.split(a).length)[0];
  const rows = [];
  let [fields, field, isQuoted, hasQuotes] = [[], "", false, false];
  let [line, start, opened] = [1, 1, 1]; // of this letter, this row, the last quotation mark
  const endField = () => { fields.push(field); field = ""; hasQuotes = false; };
  const endRow = () => {
    endField();
    if (fields.length > 1 || fields[0] !== "") rows.push({ line: start, fields });
    fields = [];
    start = line;
  };
  for (let i = 0; i < text.length; i += 1) {
    const letter = text[i];
    if (letter === "\n") line += 1;
    if (isQuoted) {
      if (letter !== '"') field += letter;
      else if (text[i + 1] === '"') { field += '"'; i += 1; }
      else isQuoted = false;
    } else if (letter === '"' && field === "" && !hasQuotes) [isQuoted, hasQuotes, opened] = [true, true, line];
    else if (letter === mark) endField();
    else if (letter === "\n") endRow();
    else if (hasQuotes && letter.trim() !== "") throw new Error(afterQuotes(line));
    else if (!hasQuotes && (letter !== "\r" || text[i + 1] !== "\n")) field += letter;
  }
  if (isQuoted) throw new Error(`A quotation mark of line ${opened} is never closed. Close it and open the file again.`);
  if (field !== "" || hasQuotes || fields.length > 0) endRow();
  return checked(rows);
};

const afterQuotes = (line) =>
  `In line ${line} a letter follows a closing quotation mark. Double the marks that belong to a text ("") and open the `
  + "file again.";

const checked = (rows) => {
  if (rows.length < 2) throw new Error("The file must hold a line of names and a row or more. Open another one.");
  const most = rows[0].fields.length;
  const wide = rows.find(({ fields }) => fields.length > most);
  if (wide !== undefined) {
    throw new Error(`Line ${wide.line} has ${wide.fields.length} fields, but the first line names ${most}: a text that `
      + "holds commas must stand in quotation marks, with no space before them. Repair the file and open it again.");
  }
  return rows;
};

const FORMULA = /^[=+\-@\t\r\n＝＋－＠]/;
const NUMBER = /^[+-]?(\d+([.,]\d*)?|[.,]\d+)(e[+-]?\d+)?$/i;

const cell = (value) => {
  const text = value === null || value === undefined ? "" : String(value);
  const safe = FORMULA.test(text) && !NUMBER.test(text) ? `'${text}` : text;
  return /[",\r\n]/.test(safe) ? `"${safe.replaceAll('"', '""')}"` : safe;
};

// A text of rows of values.
export const written = (rows) => rows.map((row) => row.map(cell).join(",") + "\r\n").join("");
