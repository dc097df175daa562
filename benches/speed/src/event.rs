//! The events: orders in JSON of an exact size.
use std::fmt::Write as _;

/// What stands around the number of the invocation; where an event has room for it, no two are the same.
const NUMBER: &str = r#""seq":"0000000000""#;
pub(crate) const DIGITS: usize = 10;

pub(crate) struct Event {
    pub(crate) text: Vec<u8>,
    /// Where the ten digits are, if any.
    pub(crate) number: Option<usize>,
}

impl Event {
    /// A JSON value of exactly `size` bytes: an order where that fits, else a text, else the number 7.
    ///
    /// An order is compact, its keys are sorted and its numbers are in the shortest form, so that a runtime which parses it into a
    /// tree and prints that can still echo it.
    pub(crate) fn new(size: usize) -> Self {
        match size {
            0 => Self { text: vec![], number: None },
            1 => Self { text: b"7".to_vec(), number: None },
            2..512 => Self { text: format!("\"{}\"", "x".repeat(size - 2)).into_bytes(), number: None },
            _ => order(size),
        }
    }

    pub(crate) fn set_number(&mut self, number: usize) {
        if let Some(at) = self.number {
            let _ = std::io::Write::write_fmt(&mut &mut self.text[at..at + DIGITS], format_args!("{number:010}"));
        }
    }
}

fn order(size: usize) -> Event {
    // xorshift64*: the same event every time.
    let mut random = 0x2545_f491_4f6c_dd1d_u64;
    let mut next = |below: u64| {
        random ^= random << 13;
        random ^= random >> 7;
        random ^= random << 17;
        random % below
    };
    let words = [
        "linen",
        "shirt",
        "with",
        "a",
        "relaxed",
        "collar",
        "café",
        "blue",
        "said \\\"yes\\\"",
        "and",
        "two\\nlines",
        "pockets",
        "ships",
        "tomorrow",
    ];
    let word = |among: u64, next: &mut dyn FnMut(u64) -> u64| words[next(among) as usize];
    let mut text = String::from(
        r#"{"account":"123456789012","customer":{"email":"jane.doe@example.com","id":48213,"name":"Jane Doe","newsletter":false},"items":["#,
    );
    let tail = format!(
        r#"{NUMBER},"source":"com.example.orders","time":"2026-11-25T00:00:00Z","total":{{"amount":1290.55,"currency":"EUR"}},"zip":null}}"#
    );
    let tail_length = r#"],"note":"","#.len() + tail.len();
    let mut separator = "";
    loop {
        let description: Vec<&str> = (0..8 + next(16)).map(|_| word(words.len() as u64, &mut next)).collect();
        let color = word(6, &mut next);
        let mut item = format!(r#"{separator}{{"attributes":{{"color":"{color}","size":[{},{},{}],"#, next(90), next(90), next(90));
        let _ = write!(item, r#""weightGrams":{}.5}},"description":"{}","#, next(900), description.join(" "));
        let _ =
            write!(item, r#""id":"{:08x}-{:04x}-{:04x}","inStock":{},"#, next(1 << 32), next(1 << 16), next(1 << 16), next(2) == 1);
        let _ = write!(item, r#""price":{{"amount":{}.{},"currency":"EUR","discount":null}},"#, next(1000), 1 + next(9));
        let _ = write!(item, r#""quantity":{},"tags":["sku-{}","{}"]}}"#, 1 + next(12), next(1_000_000), word(6, &mut next));
        if text.len() + item.len() + tail_length > size {
            break;
        }
        text.push_str(&item);
        separator = ",";
    }
    let padding = size - text.len() - tail_length;
    text.push_str(r#"],"note":""#);
    text.extend("Leave it with the neighbours. ".chars().cycle().take(padding));
    text.push_str(r#"","#);
    let number = text.len() + NUMBER.len() - 1 - DIGITS;
    text.push_str(&tail);
    Event { text: text.into_bytes(), number: Some(number) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_event_is_json_of_exactly_the_size_and_bears_its_number() {
        for size in (1..3000).chain([102_400, 6 << 20]) {
            let mut event = Event::new(size);
            event.set_number(1234);
            assert_eq!(event.text.len(), size);
            let value: serde_json::Value = serde_json::from_slice(&event.text).unwrap();
            assert!(size < 512 || value["seq"] == "0000001234", "{size}");
            if size > 512 {
                assert_eq!(serde_json::to_vec(&value).unwrap(), event.text);
            }
        }
    }
}
