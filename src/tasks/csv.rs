//! Comma-separated values (RFC 4180), safe to open in a spreadsheet.

/// One line. Every value is quoted; one that a spreadsheet would take for a formula begins with an apostrophe (OWASP: CSV
/// Injection).
pub(super) fn record(values: &[String]) -> String {
    let quoted: Vec<String> = values.iter().map(|value| quote(value)).collect();
    quoted.join(",") + "\r\n"
}

fn quote(value: &str) -> String {
    let formula = value.starts_with(['=', '+', '-', '@', '\t', '\r', '\n', '＝', '＋', '－', '＠']);
    format!("\"{}{}\"", if formula { "'" } else { "" }, value.replace('"', "\"\""))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quotes_are_doubled_and_formulas_are_disarmed() {
        let line = record(&["a\"b".into(), "=1+1".into(), String::new(), "@x,y".into(), "a=b\r\n".into()]);
        assert_eq!(line, "\"a\"\"b\",\"'=1+1\",\"\",\"'@x,y\",\"a=b\r\n\"\r\n");
    }
}
