//! The X-Ray trace header, and the W3C `traceparent` made from it.

/// The W3C form of an X-Ray header: `Root=1-AAAAAAAA-BBBB…;Parent=CCCC…;Sampled=1` gives `00-AAAAAAAABBBB…-CCCC…-01`.
///
/// `None` without a well-formed `Root` and `Parent`. Ids of zeros only, which W3C forbids, are not well-formed.
#[must_use]
pub fn traceparent(header: &str) -> Option<String> {
    let (mut root, mut parent, mut sampled) = (None, None, None);
    // Every invocation has one: the standard library's search for a character takes its time to begin.
    let mut next = Some(header);
    while let Some(text) = next {
        let (part, others) = split(text, b';').map_or((text, None), |(part, others)| (part, Some(others)));
        next = others;
        let Some((key, value)) = split(part, b'=') else { continue };
        let place = match key.trim() {
            "Root" => &mut root,
            "Parent" => &mut parent,
            "Sampled" => &mut sampled,
            _ => continue,
        };
        place.get_or_insert(value.trim());
    }
    let (epoch, unique) = root?.strip_prefix("1-")?.split_once('-')?;
    let parent = parent?;
    let is_zero = |id: &str| id.bytes().all(|digit| digit == b'0');
    let is_well_formed = is_hex(epoch, 8) && is_hex(unique, 24) && is_hex(parent, 16);
    if !is_well_formed || is_zero(epoch) && is_zero(unique) || is_zero(parent) {
        return None;
    }
    let sampled = if sampled == Some("1") { "01" } else { "00" };
    let mut text = ["00-", epoch, unique, "-", parent, "-", sampled].concat();
    text.make_ascii_lowercase();
    Some(text)
}

/// What is before the first of these, which are ASCII, and what is behind it.
fn split(text: &str, at: u8) -> Option<(&str, &str)> {
    let found = memchr::memchr(at, text.as_bytes())?;
    Some((&text[..found], &text[found + 1..]))
}

/// Whether the text is exactly so many hexadecimal digits.
fn is_hex(text: &str, digits: usize) -> bool {
    // Every byte is looked at, so that several can be at once.
    text.len() == digits && text.bytes().fold(true, |so_far, byte| so_far & byte.is_ascii_hexdigit())
}

#[cfg(test)]
mod tests {
    use super::traceparent;

    #[test]
    fn a_root_and_a_parent_make_a_traceparent() {
        let sampled = "00-5759e988bd862e3fe1be46a994272793-53995c3f42cd8ad8-01";
        let unsampled = "00-5759e988bd862e3fe1be46a994272793-53995c3f42cd8ad8-00";
        let root = "Root=1-5759e988-bd862e3fe1be46a994272793";
        for (header, expected) in [
            (format!("{root};Parent=53995c3f42cd8ad8;Sampled=1"), Some(sampled)),
            (format!("{root};Parent=53995c3f42cd8ad8;Sampled=1;Lineage=a87bd80c:1"), Some(sampled)),
            (format!("Sampled=1; Parent=53995C3F42CD8AD8; {root}"), Some(sampled)),
            (format!("{root};Parent=53995c3f42cd8ad8;Sampled=0"), Some(unsampled)),
            (format!("{root};Parent=53995c3f42cd8ad8;Sampled=?"), Some(unsampled)),
            (format!("{root};Parent=53995c3f42cd8ad8"), Some(unsampled)),
            (format!("{root};Sampled=1"), None),
            ("Parent=53995c3f42cd8ad8;Sampled=1".to_owned(), None),
            (format!("{root};Parent=53995c3f42cd8ad;Sampled=1"), None),
            (format!("{root}0;Parent=53995c3f42cd8ad8;Sampled=1"), None),
            (format!("{root};Parent=53995c3f42cd8adg"), None),
            (format!("{root};Parent=0000000000000000"), None),
            ("Root=1-00000000-000000000000000000000000;Parent=53995c3f42cd8ad8".to_owned(), None),
            ("Root=2-5759e988-bd862e3fe1be46a994272793;Parent=53995c3f42cd8ad8".to_owned(), None),
            ("Root=1-5759e988bd862e3fe1be46a994272793;Parent=53995c3f42cd8ad8".to_owned(), None),
            ("nonsense".to_owned(), None),
            (";;=;".to_owned(), None),
        ] {
            assert_eq!(traceparent(&header).as_deref(), expected, "{header}");
        }
    }
}
