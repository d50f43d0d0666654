"""Human evaluation: a blinded study of decisions and reasons."""
