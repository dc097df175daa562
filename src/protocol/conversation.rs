//! How a handler is understood: what differs from mode to mode, so that nobody else has to ask which one it is.

use bytes::Bytes;

use crate::protocol::reply::{self, Line, Reply, Source, Standing};
use crate::protocol::whole;

/// How a handler and bootstrap talk (protocol, sections 3 to 5).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mode {
    /// Section 3: one process, many events, each a JSON line with its id.
    JsonLines,
    /// Section 4: the bare event in, the bare response out, tied to each other by nothing but order.
    Filter,
    /// Section 5: a process for each event.
    OneShot,
}

impl Mode {
    /// Whether a handler is started before there is an event for it.
    #[must_use]
    pub fn starts_ahead(self) -> bool {
        self != Self::OneShot
    }

    /// Whether nothing but order ties an answer to its event, so that what waits in a channel must be read before a message goes out.
    #[must_use]
    pub fn goes_by_order(self) -> bool {
        self == Self::Filter
    }

    /// Whether it is the end of the process that makes its answer whole.
    #[must_use]
    pub fn answers_by_ending(self) -> bool {
        self == Self::OneShot
    }
}

/// What a handler owes.
pub trait Owed {
    /// What is known of a request id.
    fn standing(&self, id: &str) -> Standing;
    /// The request id of the invocation in flight, where there is just one.
    fn only(&self) -> Option<&str>;
    /// Whether there is any.
    fn any(&self) -> bool;
}

/// How much is known of the end of a handler that has closed a channel.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ending {
    /// The channel is closed. It is not known whether the process ends too.
    Closed,
    /// It has had time to end, and lives on.
    LivesOn,
    /// It has exited with this status.
    Exited(i32),
    /// A signal has ended it, or bootstrap has.
    Killed,
}

/// What becomes of the bytes after the last newline.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Rest {
    /// They are a line like any other.
    Line,
    /// They are log lines, whatever is in them.
    Log,
    /// It has to be seen how the process ends.
    Wait,
}

/// What becomes of a line too long to be held.
#[derive(Debug, PartialEq, Eq)]
pub enum Long {
    /// It is a log line.
    Log,
    /// It answers this invocation, and is too large.
    Answer(String),
    /// It answers an invocation that is over; the id, where it has one.
    Stale(Option<String>),
    /// It is on descriptor 3 and can't be tied to one of several invocations.
    Garbage,
    /// In `filter`: it answers nothing.
    Surplus,
}

/// What a handler has said so far, as far as it changes what the next line means.
#[derive(Debug)]
pub struct Conversation {
    mode: Mode,
    /// In `filter`: whether a ready message is expected before the first event.
    expects_ready: bool,
    /// It was given an event.
    has_begun: bool,
    /// Something has come on descriptor 3.
    uses_reply_fd: bool,
}

impl Conversation {
    /// A conversation in which nothing was said. In `filter` a ready message counts only where one is expected: whatever else comes
    /// before the first event is a log line.
    #[must_use]
    pub fn new(mode: Mode, expects_ready: bool) -> Self {
        Self { mode, expects_ready, has_begun: false, uses_reply_fd: false }
    }

    /// The handler is given an event. Returns whether it is the first.
    pub fn begin(&mut self) -> bool {
        !std::mem::replace(&mut self.has_begun, true)
    }

    /// Whether the handler can answer though it has closed its channels.
    #[must_use]
    pub fn answers_by_ending(&self) -> bool {
        self.mode.answers_by_ending()
    }

    /// Descriptor 3 has brought something. Returns whether stdout, which was held back as the answer, is a log from now on.
    pub fn heard_reply_fd(&mut self) -> bool {
        !std::mem::replace(&mut self.uses_reply_fd, true) && self.mode.answers_by_ending()
    }

    /// What a line means. Where the end of the process makes the answer, all that it wrote is one line.
    pub fn line(&mut self, line: &Bytes, source: Source, owed: &impl Owed) -> Line {
        if self.mode == Mode::JsonLines {
            return reply::read(line, source, |id| owed.standing(id));
        }
        self.uses_reply_fd |= source == Source::ReplyFd;
        if self.is_log(source) {
            return Line::Log;
        }
        if !self.has_begun {
            let control = self.expects_ready.then(|| reply::control_message(line)).flatten();
            return control.unwrap_or(Line::Log);
        }
        let Some(id) = owed.only() else {
            return if self.mode.answers_by_ending() { Line::Log } else { Line::Surplus };
        };
        let response = if self.mode.answers_by_ending() { whole::output(line) } else { whole::line(line) };
        match response {
            Ok(response) => Line::Reply(id.to_owned(), Reply::Response(response)),
            Err(why) => Line::Malformed(id.to_owned(), why),
        }
    }

    /// What a line means of which more than 8 MiB have come and no end.
    pub fn long_line(&mut self, start: &[u8], source: Source, owed: &impl Owed) -> Long {
        if self.mode != Mode::JsonLines {
            return match owed.only() {
                _ if self.is_log(source) || !self.has_begun => Long::Log,
                Some(id) => Long::Answer(id.to_owned()),
                None if self.mode.answers_by_ending() => Long::Log,
                None => Long::Surplus,
            };
        }
        let id = reply::begins(start);
        match (id.as_deref().map(|id| owed.standing(id)), source) {
            (Some(Standing::InFlight { .. }), _) => Long::Answer(id.unwrap_or_default()),
            (Some(Standing::Past), _) | (Some(Standing::Unknown), Source::ReplyFd) => Long::Stale(id),
            (_, Source::Stdout) => Long::Log,
            // Nothing but replies comes on descriptor 3, so this is one, whatever it begins with.
            (None, Source::ReplyFd) => match owed.only() {
                Some(only) => Long::Answer(only.to_owned()),
                None if owed.any() => Long::Garbage,
                None => Long::Stale(None),
            },
        }
    }

    /// What becomes of the bytes after the last newline, at the end of a channel.
    pub fn rest(&self, rest: impl FnOnce() -> Bytes, source: Source, ending: Ending, owed: &impl Owed) -> Rest {
        match self.mode {
            // A whole reply needs no newline. Half a reply is malformed only where the process lives on.
            Mode::JsonLines => match (reply::read(&rest(), source, |id| owed.standing(id)), ending) {
                (Line::Malformed(..) | Line::Garbage(_), Ending::Exited(_) | Ending::Killed) => Rest::Log,
                (Line::Malformed(..) | Line::Garbage(_), Ending::Closed) => Rest::Wait,
                _ => Rest::Line,
            },
            _ if self.is_log(source) => Rest::Log,
            // What a program has written by the time it fails is no answer.
            _ => match ending {
                Ending::Closed => Rest::Wait,
                Ending::LivesOn if self.mode.answers_by_ending() => Rest::Wait,
                Ending::Exited(0) => Rest::Line,
                Ending::LivesOn | Ending::Exited(_) | Ending::Killed => Rest::Log,
            },
        }
    }

    /// What it means that a process has exited in success and has said nothing.
    pub fn silence(&self, owed: &impl Owed) -> Option<Line> {
        let id = owed.only().filter(|_| self.mode.answers_by_ending())?;
        Some(Line::Reply(id.to_owned(), Reply::Response(Bytes::from_static(b"null"))))
    }

    /// Once a line has come on descriptor 3, stdout is a log.
    fn is_log(&self, source: Source) -> bool {
        self.uses_reply_fd && source == Source::Stdout
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What a handler owes in a test.
    struct Owing(&'static [&'static str]);

    impl Owed for Owing {
        fn standing(&self, id: &str) -> Standing {
            if self.0.contains(&id) { Standing::InFlight { streaming: false } } else { Standing::Unknown }
        }

        fn only(&self) -> Option<&str> {
            if let [only] = self.0 { Some(only) } else { None }
        }

        fn any(&self) -> bool {
            !self.0.is_empty()
        }
    }

    fn bytes(text: &'static str) -> Bytes {
        Bytes::from_static(text.as_bytes())
    }

    fn response(text: &'static str) -> Line {
        Line::Reply("now".to_owned(), Reply::Response(bytes(text)))
    }

    #[test]
    fn a_filters_lines_are_logs_then_one_answer_an_event_then_surplus() {
        let mut filter = Conversation::new(Mode::Filter, false);
        assert_eq!(filter.line(&bytes("1"), Source::Stdout, &Owing(&[])), Line::Log);
        assert_eq!(filter.line(&bytes("{\"ready\":true}"), Source::Stdout, &Owing(&[])), Line::Log);
        filter.begin();
        assert_eq!(filter.line(&bytes("1"), Source::Stdout, &Owing(&["now"])), response("1"));
        assert_eq!(filter.line(&bytes("2"), Source::Stdout, &Owing(&[])), Line::Surplus);
        assert!(matches!(filter.line(&bytes("no"), Source::Stdout, &Owing(&["now"])), Line::Malformed(id, _) if id == "now"));
        assert_eq!(filter.line(&bytes("3"), Source::ReplyFd, &Owing(&["now"])), response("3"));
        for owing in [Owing(&["now"]), Owing(&[])] {
            assert_eq!(filter.line(&bytes("4"), Source::Stdout, &owing), Line::Log, "descriptor 3 is in use");
        }
    }

    #[test]
    fn a_filter_is_heard_to_be_ready_where_that_is_expected_and_only_before_its_first_event() {
        let mut filter = Conversation::new(Mode::Filter, true);
        let ready = bytes("{\"ready\":true}");
        assert!(matches!(filter.line(&ready, Source::Stdout, &Owing(&[])), Line::Ready { .. }));
        assert_eq!(filter.line(&bytes("hello"), Source::Stdout, &Owing(&[])), Line::Log);
        filter.begin();
        assert_eq!(filter.line(&ready, Source::Stdout, &Owing(&["now"])), response("{\"ready\":true}"));
    }

    #[test]
    fn the_rest_of_a_channel_is_an_answer_only_where_the_mode_says_so() {
        let rest = |mode, ending, text: &'static str, source| {
            let mut conversation = Conversation::new(mode, false);
            conversation.begin();
            conversation.rest(|| bytes(text), source, ending, &Owing(&["now"]))
        };
        for (mode, ending, text, fate) in [
            (Mode::JsonLines, Ending::Closed, "{\"id\":\"now\",\"response\":1}", Rest::Line),
            (Mode::JsonLines, Ending::Closed, "{\"id\":\"now\",\"response\":", Rest::Wait),
            (Mode::JsonLines, Ending::LivesOn, "{\"id\":\"now\",\"response\":", Rest::Line),
            (Mode::JsonLines, Ending::Exited(0), "{\"id\":\"now\",\"response\":", Rest::Log),
            (Mode::JsonLines, Ending::Killed, "{\"id\":\"now\",\"response\":", Rest::Log),
            (Mode::Filter, Ending::Closed, "1", Rest::Wait),
            (Mode::Filter, Ending::LivesOn, "1", Rest::Log),
            (Mode::Filter, Ending::Exited(0), "1", Rest::Line),
            (Mode::Filter, Ending::Exited(1), "1", Rest::Log),
            (Mode::Filter, Ending::Killed, "1", Rest::Log),
            (Mode::OneShot, Ending::Closed, "1", Rest::Wait),
            (Mode::OneShot, Ending::LivesOn, "1", Rest::Wait),
            (Mode::OneShot, Ending::Exited(0), "1", Rest::Line),
            (Mode::OneShot, Ending::Exited(1), "1", Rest::Log),
            (Mode::OneShot, Ending::Killed, "1", Rest::Log),
        ] {
            assert_eq!(rest(mode, ending, text, Source::Stdout), fate, "{mode:?} {ending:?} {text}");
        }
    }

    #[test]
    fn what_a_one_shot_program_wrote_is_its_answer_unless_it_used_descriptor_3() {
        let mut program = Conversation::new(Mode::OneShot, false);
        program.begin();
        assert_eq!(program.silence(&Owing(&["now"])), Some(response("null")));
        assert_eq!(program.silence(&Owing(&[])), None);
        assert_eq!(Conversation::new(Mode::Filter, false).silence(&Owing(&["now"])), None);
        assert_eq!(program.line(&bytes("a\nb\n"), Source::Stdout, &Owing(&["now"])), response("\"a\\nb\""));
        assert!(program.heard_reply_fd(), "stdout is a log from now on");
        assert!(!program.heard_reply_fd(), "it was told already");
        assert_eq!(program.line(&bytes("a"), Source::Stdout, &Owing(&["now"])), Line::Log);
        assert_eq!(program.rest(|| bytes("a"), Source::Stdout, Ending::Exited(0), &Owing(&["now"])), Rest::Log);
        assert_eq!(program.line(&bytes("1"), Source::ReplyFd, &Owing(&["now"])), response("1"));
    }

    #[test]
    fn a_line_too_long_is_what_its_beginning_says() {
        let reply = b"{\"id\":\"now\",\"response\":\"aaa";
        let mut lines = Conversation::new(Mode::JsonLines, false);
        assert_eq!(lines.long_line(reply, Source::Stdout, &Owing(&["now", "other"])), Long::Answer("now".to_owned()));
        assert_eq!(lines.long_line(b"aaa", Source::Stdout, &Owing(&["now"])), Long::Log);
        assert_eq!(lines.long_line(b"aaa", Source::ReplyFd, &Owing(&["now"])), Long::Answer("now".to_owned()));
        assert_eq!(lines.long_line(b"aaa", Source::ReplyFd, &Owing(&["now", "other"])), Long::Garbage);
        assert_eq!(lines.long_line(b"aaa", Source::ReplyFd, &Owing(&[])), Long::Stale(None));
        assert_eq!(lines.long_line(reply, Source::ReplyFd, &Owing(&[])), Long::Stale(Some("now".to_owned())));
        let mut filter = Conversation::new(Mode::Filter, false);
        assert_eq!(filter.long_line(b"aaa", Source::Stdout, &Owing(&[])), Long::Log);
        filter.begin();
        assert_eq!(filter.long_line(b"aaa", Source::Stdout, &Owing(&["now"])), Long::Answer("now".to_owned()));
        assert_eq!(filter.long_line(b"aaa", Source::Stdout, &Owing(&[])), Long::Surplus);
    }
}
