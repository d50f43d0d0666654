// Files that a person opens or drops: texts in UTF-8, anything else is refused with what to do.

const TEXTLESS = ["%PDF-", "PK\x03\x04", "\xd0\xcf\x11\xe0", "{\\rtf"]; // PDF; docx, xlsx and odt; doc and xls; RTF

export const textOf = async (file) => {
  let bytes;
  try {
    bytes = new Uint8Array(await file.arrayBuffer());
  } catch {
    throw new Error(`“${file.name}” can't be read. Open a file, not a folder.`);
  }
  const start = String.fromCharCode(...bytes.slice(0, 8));
  const isWide = start.startsWith("\xff\xfe") || start.startsWith("\xfe\xff"); // UTF-16, full of zeros
  if (TEXTLESS.some((each) => start.startsWith(each)) || (bytes.includes(0) && !isWide)) {
    throw new Error(`“${file.name}” is no plain text. Copy its text, or save it as plain text (.txt, .csv) first.`);
  }
  try {
    return new TextDecoder("utf-8", { fatal: true }).decode(bytes);
  } catch {
    throw new Error(`“${file.name}” is not in UTF-8, so letters would be lost. Save it as UTF-8 and open it again.`);
  }
};
