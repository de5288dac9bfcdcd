//! Messages as earlier versions sent them, kept as text, so that later versions are held to understand them.

use std::env;
use std::fs;
use std::io;
use std::path::Path;

/// The messages of a file of hex text: lines that begin with `#` are comments, an empty line ends a message.
///
/// A file that is not there is written from `now`, with `what` as its comment, if `RECORD` is set in the environment.
/// One that is there is never written: it is what somebody out there still sends.
pub fn recorded(file: &Path, what: &str, now: impl FnOnce() -> Vec<Vec<u8>>) -> io::Result<Vec<Vec<u8>>> {
    if !file.exists() && env::var_os("RECORD").is_some() {
        fs::write(file, to_text(what, &now()))?;
    }
    let hint = "run the test once with RECORD=1 to record what is sent today";
    let text =
        fs::read_to_string(file).map_err(|e| io::Error::new(e.kind(), format!("{}: {e}; {hint}", file.display())))?;
    from_text(&text).ok_or_else(|| io::Error::other(format!("{}: this is not hex text", file.display())))
}

fn to_text(what: &str, messages: &[Vec<u8>]) -> String {
    let mut text: String = what.lines().map(|line| format!("# {line}\n")).collect();
    for message in messages {
        let hex: String = message.iter().map(|byte| format!("{byte:02x}")).collect();
        text += "\n";
        for line in hex.as_bytes().chunks(120) {
            text.extend(line.iter().map(|digit| char::from(*digit)));
            text += "\n";
        }
    }
    text
}

fn from_text(text: &str) -> Option<Vec<Vec<u8>>> {
    let lines: Vec<_> = text.lines().map(|line| if line.starts_with('#') { "" } else { line.trim() }).collect();
    let messages = lines.split(|line| line.is_empty()).filter(|message| !message.is_empty());
    messages.map(|message| from_hex(&message.concat())).collect()
}

fn from_hex(hex: &str) -> Option<Vec<u8>> {
    let byte = |pair: &[u8]| u8::from_str_radix(std::str::from_utf8(pair).ok()?, 16).ok();
    hex.len().is_multiple_of(2).then(|| hex.as_bytes().chunks(2).map(byte).collect())?
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_survive_as_text() {
        let messages = vec![vec![0, 255, 16], (0..200).collect(), vec![1]];
        let text = to_text("two\nlines", &messages);
        assert!(
            text.starts_with("# two\n# lines\n\n00ff10\n\n") && text.lines().all(|line| line.len() <= 120),
            "{text}"
        );
        assert_eq!(from_text(&text), Some(messages));
        assert_eq!(from_text("# nothing\n"), Some(Vec::new()));
        assert_eq!((from_text("0"), from_text("zz")), (None, None));
    }

    #[test]
    fn what_was_not_recorded_is_missed() {
        let folder = tempfile::tempdir().unwrap();
        let missed = recorded(&folder.path().join("get.hex"), "", Vec::new).unwrap_err().to_string();
        assert!(env::var_os("RECORD").is_some() || missed.contains("RECORD=1"), "{missed}");
    }
}
