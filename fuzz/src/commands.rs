//! A command line: split as a POSIX shell splits it, and put together again.

use std::ffi::OsString;

use bootstrap::config::Config;
use bootstrap::fault::Fault;

use crate::settings::Variables;

/// Splits a text, and splits the words of it after each was quoted in some way.
pub fn check(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    if text.contains('\0') {
        return;
    }
    assert_eq!(words(text), reference(text), "{text:?}");

    // Each line a word, the first byte of which says how it is quoted.
    let given: Vec<&str> = text.split('\n').collect();
    let quoted: Vec<String> = given.iter().enumerate().map(|(place, word)| quote(word, place + data.len())).collect();
    assert_eq!(words(&quoted.join(" \t\n")), Some(given.into_iter().map(str::to_owned).collect()), "{quoted:?}");
}

/// What `BOOTSTRAP_COMMAND` becomes; `None` where it is refused.
fn words(text: &str) -> Option<Vec<String>> {
    match Config::new(&Variables(vec![("BOOTSTRAP_COMMAND".into(), text.into())]), &[]) {
        Ok(config) => Some(config.command.words.into_iter().map(|word: OsString| word.into_string().expect("text")).collect()),
        Err(Fault::HandlerNotFound(_)) => Some(Vec::new()),
        Err(Fault::InvalidConfiguration(why)) => {
            assert!(why.starts_with("BOOTSTRAP_COMMAND=\""), "{why}");
            None
        }
        Err(other) => panic!("{other:?}"),
    }
}

fn quote(word: &str, style: usize) -> String {
    match style % 3 {
        0 => format!("'{}'", word.replace('\'', r"'\''")),
        1 => {
            let escaped: String =
                word.chars().flat_map(|c| ['\\'].into_iter().filter(move |_| "\"\\$`".contains(c)).chain([c])).collect();
            format!("\"{escaped}\"")
        }
        // Of nothing there is nothing to escape.
        _ if word.is_empty() => "''".to_owned(),
        _ => word.chars().flat_map(|c| ['\\', c]).collect(),
    }
}

/// POSIX, section 2.2 and 2.3 of the shell language: quoting, and what ends a word. `None` where a quote does not close.
fn reference(text: &str) -> Option<Vec<String>> {
    let (mut words, mut word): (Vec<String>, Option<String>) = (Vec::new(), None);
    let mut rest = text.chars();
    while let Some(c) = rest.next() {
        match c {
            ' ' | '\t' | '\n' => words.extend(word.take()),
            '#' if word.is_none() => _ = rest.by_ref().find(|c| *c == '\n'),
            '\'' => loop {
                // It is a word, if an empty one.
                word.get_or_insert_default();
                match rest.next()? {
                    '\'' => break,
                    c => word.get_or_insert_default().push(c),
                }
            },
            '"' => loop {
                word.get_or_insert_default();
                match rest.next()? {
                    '"' => break,
                    '\\' => match rest.next()? {
                        '\n' => _ = word.get_or_insert_default(),
                        c @ ('$' | '`' | '"' | '\\') => word.get_or_insert_default().push(c),
                        c => word.get_or_insert_default().extend(['\\', c]),
                    },
                    c => word.get_or_insert_default().push(c),
                }
            },
            '\\' => match rest.next()? {
                // The line goes on.
                '\n' => {}
                c => word.get_or_insert_default().push(c),
            },
            c => word.get_or_insert_default().push(c),
        }
    }
    words.extend(word);
    Some(words)
}
