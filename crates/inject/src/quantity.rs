//! Quantities of CPU and memory, as Kubernetes writes them.

/// Whether a text is a quantity: a decimal number with a suffix or an exponent.
pub(crate) fn is_quantity(text: &str) -> bool {
    const SUFFIXES: [&str; 16] =
        ["", "n", "u", "m", "k", "M", "G", "T", "P", "E", "Ki", "Mi", "Gi", "Ti", "Pi", "Ei"];
    let unsigned = text.strip_prefix(['+', '-']).unwrap_or(text);
    let end = unsigned.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(unsigned.len());
    let (number, suffix) = unsigned.split_at(end);
    let is_number = number.bytes().any(|b| b.is_ascii_digit()) && number.matches('.').count() < 2;
    let is_exponent = || {
        let digits = suffix.strip_prefix(['e', 'E'])?;
        let digits = digits.strip_prefix(['+', '-']).unwrap_or(digits);
        Some(!digits.is_empty() && digits.bytes().all(|b| b.is_ascii_digit()))
    };
    is_number && (SUFFIXES.contains(&suffix) || is_exponent() == Some(true))
}

#[cfg(test)]
mod tests {
    use super::is_quantity;

    #[test]
    fn numbers_with_a_suffix() {
        for quantity in ["1", "100m", "0.5", ".5", "5.", "128Mi", "1e3", "1E-3", "2E", "-1k"] {
            assert!(is_quantity(quantity), "{quantity}");
        }
        for wrong in ["", "m", ".", "1.2.3", "1 Gi", "1mi", "1e", "1e+", "one", "1Gi\n"] {
            assert!(!is_quantity(wrong), "{wrong}");
        }
    }
}
