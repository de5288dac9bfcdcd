//! Durations as flags take them: a number and a unit.

use std::time::Duration;

/// Parses `500ms`, `20s`, `5m`, `1h`, `2d`: the grammar of the proxy's environment (A.6).
pub(crate) fn parse(text: &str) -> Result<Duration, String> {
    let digits = text.bytes().take_while(u8::is_ascii_digit).count();
    let (number, unit) = text.split_at(digits);
    let millis = match unit {
        "ms" => 1,
        "s" => 1_000,
        "m" => 60_000,
        "h" => 3_600_000,
        "d" => 86_400_000,
        _ => return Err("write a number and a unit out of ms, s, m, h, d, like 20s".to_owned()),
    };
    let number: u64 = number.parse().map_err(|_| "write a whole number before the unit, like 20s".to_owned())?;
    number.checked_mul(millis).map(Duration::from_millis).ok_or_else(|| "the duration is too long".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_have_a_unit() {
        assert_eq!(parse("500ms"), Ok(Duration::from_millis(500)));
        assert_eq!(parse("2d"), Ok(Duration::from_secs(172_800)));
        for bad in ["", "5", "s", "-1s", "1.5s", "5 s", "99999999999999999d"] {
            assert!(parse(bad).is_err(), "{bad}");
        }
    }
}
