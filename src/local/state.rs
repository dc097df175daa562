//! One execution environment as a closed state machine: which call of the Runtime API is due when.
//!
//! ```text
//!                 /init/error
//!     Started ------------------> InitError
//!        | /next
//!        v         deliver            /response, /error          the whole body has come
//!      Ready  ---------------> Running -----------------> Uploading ---------------> Answered
//!        ^                        ^                          |                          |
//!        |                        '---- the upload broke ----'                          |
//!        '------------------------------------ /next ------------------------------------'
//! ```
//!
//! From every state `end` leads to `Ended`: a timeout, an exit, a shutdown. There `/next` waits and gets nothing.
//!
//! What a state does not allow is refused, as Lambda refuses it. The statuses, types and messages are those of AWS's own
//! emulator (`internal/lambda/core/states.go` and `rapi/rendering`), and so is the order of the checks: first the request id,
//! then the state. Two differences are on purpose: an upload that breaks off is no answer (the runtime may try again), and a
//! response with an unknown mode is one (the caller has been told, so `/next` is due).
//!
//! There is no I/O and no clock here.

use std::fmt;

/// The largest buffered response Lambda takes, in bytes: 6 MiB and 100.
pub const MAX_RESPONSE_BYTES: usize = 6 * 1024 * 1024 + 100;

/// How many extensions one environment takes.
const MAX_EXTENSIONS: usize = 10;

/// Which invocation a report is about. A request id alone may name several attempts, so the platform adds an id of its own.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct InvocationKey {
    /// `Lambda-Runtime-Aws-Request-Id`
    pub request_id: String,
    /// `Lambda-Runtime-Invocation-Id`
    pub invocation_id: String,
}

/// Where the environment is. The names in AWS's messages are given by [`State::name`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    /// The init phase: the runtime has not called yet.
    Started,
    /// The runtime has reported that it can't start.
    InitError,
    /// The runtime waits in `/next`.
    Ready,
    /// The runtime has an event and owes its report.
    Running,
    /// A report's body is on its way.
    Uploading(Report),
    /// The caller has its answer; `/next` is due.
    Answered,
    /// Timed out, exited or shut down: nothing is due any more.
    Ended,
}

impl State {
    fn name(self) -> &'static str {
        match self {
            State::Started => "Started",
            State::InitError => "InitError",
            State::Ready => "Ready",
            State::Running => "Running",
            State::Uploading(report) => report.state_name(),
            State::Answered => "RuntimeResponseSentState",
            State::Ended => "Ended",
        }
    }
}

/// The two ways to report an invocation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Report {
    /// `/response`
    Response,
    /// `/error`
    Error,
}

impl Report {
    fn state_name(self) -> &'static str {
        match self {
            Report::Response => "InvocationResponse",
            Report::Error => "InvocationErrorResponse",
        }
    }
}

/// What an allowed `/next` gets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Next {
    /// It waits for the next event.
    Wait,
    /// It gets the event that the runtime has already: its answer may have been lost on the way.
    Again,
}

/// Why a call was refused, with what Lambda answers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// The call is not due in this state.
    InvalidStateTransition {
        /// The state's name.
        from: &'static str,
        /// The name of the state that the call would have led to.
        to: &'static str,
    },
    /// The request id is not the current one.
    InvalidRequestId,
    /// The invocation is over: it timed out, or this is an earlier attempt's report.
    InvokeTimeout,
    /// The body is larger than [`MAX_RESPONSE_BYTES`].
    RequestEntityTooLarge,
    /// A response mode other than `streaming`.
    InvalidFunctionResponseMode,
    /// The body broke off.
    TruncatedHttpRequest,
    /// The Extensions API's refusals: the type and the message.
    Extension(&'static str, String),
}

impl Refusal {
    /// The HTTP status.
    pub fn status(&self) -> u16 {
        match self {
            Refusal::InvalidRequestId | Refusal::InvalidFunctionResponseMode | Refusal::TruncatedHttpRequest => 400,
            Refusal::InvalidStateTransition { .. } | Refusal::Extension(..) => 403,
            Refusal::InvokeTimeout => 410,
            Refusal::RequestEntityTooLarge => 413,
        }
    }

    /// `errorType` of the body.
    pub fn error_type(&self) -> &'static str {
        match self {
            Refusal::InvalidStateTransition { .. } => "InvalidStateTransition",
            Refusal::InvalidRequestId => "InvalidRequestID",
            Refusal::InvokeTimeout => "InvokeTimeout",
            Refusal::RequestEntityTooLarge => "RequestEntityTooLarge",
            Refusal::InvalidFunctionResponseMode => "InvalidFunctionResponseMode",
            Refusal::TruncatedHttpRequest => "TruncatedHTTPRequest",
            Refusal::Extension(error_type, _) => error_type,
        }
    }
}

/// `errorMessage` of the body, in Lambda's words.
impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Refusal::InvalidStateTransition { from, to } => {
                write!(f, "State transition from {from} to {to} failed for runtime. Error: State transition is not allowed")
            }
            Refusal::InvalidRequestId => f.write_str("Invalid request ID"),
            Refusal::InvokeTimeout => f.write_str("Invoke timeout"),
            Refusal::RequestEntityTooLarge => write!(f, "Exceeded maximum allowed payload size ({MAX_RESPONSE_BYTES} bytes)."),
            Refusal::InvalidFunctionResponseMode => f.write_str("Invalid function response mode"),
            Refusal::TruncatedHttpRequest => f.write_str("HTTP request detected as truncated"),
            Refusal::Extension(_, message) => f.write_str(message),
        }
    }
}

/// An internal extension: a registration without a process of its own.
#[derive(Clone, Debug)]
struct Extension {
    name: String,
    id: String,
    /// Whether it has called `/extension/event/next`.
    waits: bool,
}

/// The state of one execution environment, from its runtime's start to its end.
#[derive(Clone, Debug)]
pub struct Machine {
    state: State,
    /// The invocation delivered last. It stays current after its answer, until the next one is delivered.
    current: Option<InvocationKey>,
    extensions: Vec<Extension>,
}

impl Default for Machine {
    fn default() -> Self {
        Self::new()
    }
}

impl Machine {
    /// The environment at the start of its init phase.
    pub fn new() -> Self {
        Machine { state: State::Started, current: None, extensions: Vec::new() }
    }

    /// Whether an event can be delivered: the runtime and every extension wait for one.
    pub fn is_idle(&self) -> bool {
        self.state == State::Ready && self.extensions.iter().all(|extension| extension.waits)
    }

    /// `GET /runtime/invocation/next`
    pub fn next_event(&mut self) -> Result<Next, Refusal> {
        match self.state {
            State::Started | State::Ready | State::Answered => {
                self.state = State::Ready;
                Ok(Next::Wait)
            }
            State::Running => Ok(Next::Again),
            // Too late to be told anything: the runtime is about to get its signal.
            State::Ended => Ok(Next::Wait),
            State::InitError | State::Uploading(_) => Err(self.not_due("Ready")),
        }
    }

    /// The platform's side of `/next`: the event goes to the runtime that waits.
    ///
    /// Returns whether it could; it can where [`is_idle`](Self::is_idle).
    pub fn deliver(&mut self, key: InvocationKey) -> bool {
        let idle = self.is_idle();
        if idle {
            self.current = Some(key);
            self.state = State::Running;
        }
        idle
    }

    /// `POST /runtime/invocation/{request_id}/response` or `…/error`, when its head has come.
    ///
    /// `invocation_id` is the header that newer runtimes send back; without it the request id has to do.
    pub fn begin(&mut self, report: Report, request_id: &str, invocation_id: Option<&str>) -> Result<(), Refusal> {
        match &self.current {
            Some(current) if current.request_id == request_id => {
                if invocation_id.is_some_and(|id| id != current.invocation_id) {
                    return Err(Refusal::InvokeTimeout);
                }
            }
            _ => return Err(Refusal::InvalidRequestId),
        }
        match self.state {
            State::Running => {
                self.state = State::Uploading(report);
                Ok(())
            }
            State::Ended => Err(Refusal::InvokeTimeout),
            State::Started | State::InitError | State::Ready | State::Uploading(_) | State::Answered => {
                Err(self.not_due(report.state_name()))
            }
        }
    }

    /// The report's body has come whole: `size` bytes. However large it is, it is the answer: one over
    /// [`MAX_RESPONSE_BYTES`] is refused, and the caller is told instead of it.
    pub fn received(&mut self, size: usize) -> Result<(), Refusal> {
        match self.state {
            State::Uploading(_) => {
                self.state = State::Answered;
                if size > MAX_RESPONSE_BYTES { Err(Refusal::RequestEntityTooLarge) } else { Ok(()) }
            }
            // The invocation ended while its report was on its way.
            _ => Err(Refusal::InvokeTimeout),
        }
    }

    /// The report's mode is none that Lambda knows: the report is refused, and the caller is told.
    pub fn unknown_mode(&mut self) -> Refusal {
        match self.state {
            State::Uploading(_) => {
                self.state = State::Answered;
                Refusal::InvalidFunctionResponseMode
            }
            _ => Refusal::InvokeTimeout,
        }
    }

    /// The report's body broke off: the report is still owed.
    pub fn broke_off(&mut self) -> Refusal {
        if let State::Uploading(_) = self.state {
            self.state = State::Running;
        }
        Refusal::TruncatedHttpRequest
    }

    /// `POST /runtime/init/error`
    pub fn init_error(&mut self) -> Result<(), Refusal> {
        match self.state {
            State::Started => {
                self.state = State::InitError;
                Ok(())
            }
            State::InitError | State::Ready | State::Running | State::Uploading(_) | State::Answered | State::Ended => {
                Err(self.not_due("InitError"))
            }
        }
    }

    /// `GET /runtime/restore/next`: never due here, where no environment is made from a snapshot.
    pub fn restore_next(&self) -> Refusal {
        self.not_due("RestoreReady")
    }

    /// `POST /extension/register`, in the init phase only. `id` becomes the extension's identifier.
    pub fn register_extension(&mut self, name: &str, id: String) -> Result<(), Refusal> {
        let refuse = |error_type, message: String| Err(Refusal::Extension(error_type, message));
        if name.is_empty() {
            return refuse("Extension.InvalidExtensionName", "Empty extension name".to_owned());
        }
        if self.state != State::Started {
            return refuse("Extension.RegistrationClosed", "Extension registration closed already".to_owned());
        }
        if self.extensions.iter().any(|extension| extension.name == name) {
            return refuse("Extension.InvalidExtensionState", "Extension with this name already registered".to_owned());
        }
        if self.extensions.len() == MAX_EXTENSIONS {
            return refuse("Extension.TooManyExtensions", format!("Extension limit ({MAX_EXTENSIONS}) reached"));
        }
        self.extensions.push(Extension { name: name.to_owned(), id, waits: false });
        Ok(())
    }

    /// `GET /extension/event/next`: it waits, for as long as the environment lives.
    pub fn extension_next(&mut self, id: Option<&str>) -> Result<(), Refusal> {
        let Some(id) = id else {
            return Err(Refusal::Extension(
                "Extension.MissingExtensionIdentifier",
                "Missing Lambda-Extension-Identifier header".to_owned(),
            ));
        };
        match self.extensions.iter_mut().find(|extension| extension.id == id) {
            Some(extension) if self.state != State::Ended => {
                extension.waits = true;
                Ok(())
            }
            _ => Err(Refusal::Extension("Extension.UnknownExtensionIdentifier", format!("Unknown extension {id}"))),
        }
    }

    /// The environment is over: a timeout, the runtime's exit, or a shutdown.
    pub fn end(&mut self) {
        self.state = State::Ended;
    }

    fn not_due(&self, to: &'static str) -> Refusal {
        Refusal::InvalidStateTransition { from: self.state.name(), to }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const STATES: [State; 8] = [
        State::Started,
        State::InitError,
        State::Ready,
        State::Running,
        State::Uploading(Report::Response),
        State::Uploading(Report::Error),
        State::Answered,
        State::Ended,
    ];

    /// A machine brought to the state by the calls that lead there, not by writing the field.
    fn machine_in(state: State) -> Machine {
        let mut machine = Machine::new();
        let run = |machine: &mut Machine| {
            machine.next_event().expect("the first /next is due");
            assert!(machine.deliver(key("current")), "a runtime in /next takes an event");
        };
        match state {
            State::Started => {}
            State::InitError => machine.init_error().expect("the init error is due"),
            State::Ready => {
                machine.next_event().expect("the first /next is due");
            }
            State::Running => run(&mut machine),
            State::Uploading(report) => {
                run(&mut machine);
                machine.begin(report, "current", None).expect("a report is due");
            }
            State::Answered => {
                run(&mut machine);
                machine.begin(Report::Response, "current", None).expect("a report is due");
                machine.received(2).expect("two bytes are not too many");
            }
            State::Ended => {
                run(&mut machine);
                machine.end();
            }
        }
        assert_eq!(machine.state, state);
        machine
    }

    fn key(request_id: &str) -> InvocationKey {
        InvocationKey { request_id: request_id.to_owned(), invocation_id: format!("{request_id}/1") }
    }

    #[derive(Clone, Copy, Debug)]
    enum Call {
        Next,
        Deliver,
        Response,
        ResponseOfAnotherId,
        ResponseOfAnotherAttempt,
        Error,
        ErrorOfAnotherId,
        Received,
        ReceivedTooMuch,
        UnknownMode,
        BrokeOff,
        InitError,
        RestoreNext,
        Register,
        ExtensionNextUnknown,
        End,
    }

    const CALLS: [Call; 16] = [
        Call::Next,
        Call::Deliver,
        Call::Response,
        Call::ResponseOfAnotherId,
        Call::ResponseOfAnotherAttempt,
        Call::Error,
        Call::ErrorOfAnotherId,
        Call::Received,
        Call::ReceivedTooMuch,
        Call::UnknownMode,
        Call::BrokeOff,
        Call::InitError,
        Call::RestoreNext,
        Call::Register,
        Call::ExtensionNextUnknown,
        Call::End,
    ];

    /// What the call gave: `ok`, `again`, `no`, or the refusal's status and type.
    fn make(machine: &mut Machine, call: Call) -> String {
        let said = |result: Result<(), Refusal>| match result {
            Ok(()) => "ok".to_owned(),
            Err(refusal) => format!("{} {}", refusal.status(), refusal.error_type()),
        };
        match call {
            Call::Next => match machine.next_event() {
                Ok(Next::Wait) => "ok".to_owned(),
                Ok(Next::Again) => "again".to_owned(),
                Err(refusal) => said(Err(refusal)),
            },
            Call::Deliver => if machine.deliver(key("new")) { "ok" } else { "no" }.to_owned(),
            Call::Response => said(machine.begin(Report::Response, "current", Some("current/1"))),
            Call::ResponseOfAnotherId => said(machine.begin(Report::Response, "another", None)),
            Call::ResponseOfAnotherAttempt => said(machine.begin(Report::Response, "current", Some("current/0"))),
            Call::Error => said(machine.begin(Report::Error, "current", None)),
            Call::ErrorOfAnotherId => said(machine.begin(Report::Error, "another", None)),
            Call::Received => said(machine.received(MAX_RESPONSE_BYTES)),
            Call::ReceivedTooMuch => said(machine.received(MAX_RESPONSE_BYTES + 1)),
            Call::UnknownMode => said(Err(machine.unknown_mode())),
            Call::BrokeOff => said(Err(machine.broke_off())),
            Call::InitError => said(machine.init_error()),
            Call::RestoreNext => said(Err(machine.restore_next())),
            Call::Register => said(machine.register_extension("x", "id".to_owned())),
            Call::ExtensionNextUnknown => said(machine.extension_next(Some("nobody"))),
            Call::End => {
                machine.end();
                "ok".to_owned()
            }
        }
    }

    #[test]
    fn each_state_answers_each_call_as_lambda_does() {
        use Call::*;
        let not_due = "403 InvalidStateTransition";
        let unknown = "400 InvalidRequestID";
        let over = "410 InvokeTimeout";
        for state in STATES {
            let never_delivered = matches!(state, State::Started | State::InitError | State::Ready);
            let uploading = matches!(state, State::Uploading(_));
            for call in CALLS {
                let (answer, then) = match (call, state) {
                    (Next, State::Started | State::Ready | State::Answered) => ("ok", State::Ready),
                    (Next, State::Running) => ("again", State::Running),
                    (Next, State::Ended) => ("ok", State::Ended),
                    (Next, _) => (not_due, state),
                    (Deliver, State::Ready) => ("ok", State::Running),
                    (Deliver, _) => ("no", state),
                    (Response | Error | ResponseOfAnotherAttempt, _) if never_delivered => (unknown, state),
                    (ResponseOfAnotherId | ErrorOfAnotherId, _) => (unknown, state),
                    (ResponseOfAnotherAttempt, _) => (over, state),
                    (Response, State::Running) => ("ok", State::Uploading(Report::Response)),
                    (Error, State::Running) => ("ok", State::Uploading(Report::Error)),
                    (Response | Error, State::Ended) => (over, state),
                    (Response | Error, _) => (not_due, state),
                    (Received, _) if uploading => ("ok", State::Answered),
                    (ReceivedTooMuch, _) if uploading => ("413 RequestEntityTooLarge", State::Answered),
                    (UnknownMode, _) if uploading => ("400 InvalidFunctionResponseMode", State::Answered),
                    (Received | ReceivedTooMuch | UnknownMode, _) => (over, state),
                    (BrokeOff, _) if uploading => ("400 TruncatedHTTPRequest", State::Running),
                    (BrokeOff, _) => ("400 TruncatedHTTPRequest", state),
                    (InitError, State::Started) => ("ok", State::InitError),
                    (InitError | RestoreNext, _) => (not_due, state),
                    (Register, State::Started) => ("ok", State::Started),
                    (Register, _) => ("403 Extension.RegistrationClosed", state),
                    (ExtensionNextUnknown, _) => ("403 Extension.UnknownExtensionIdentifier", state),
                    (End, _) => ("ok", State::Ended),
                };
                let mut machine = machine_in(state);
                assert_eq!(make(&mut machine, call), answer, "{call:?} in {state:?}");
                assert_eq!(machine.state, then, "after {call:?} in {state:?}");
            }
        }
    }

    #[test]
    fn an_answered_id_stays_current_until_the_next_event_is_delivered() {
        let mut machine = machine_in(State::Answered);
        let refused = |machine: &mut Machine| machine.begin(Report::Error, "current", None).map_err(|r| r.status());
        assert_eq!(refused(&mut machine), Err(403), "a second report");
        machine.next_event().expect("/next is due after an answer");
        assert_eq!(refused(&mut machine), Err(403), "a second report after /next");
        assert!(machine.deliver(key("new")));
        assert_eq!(refused(&mut machine), Err(400), "a report of the event before");
        machine.begin(Report::Response, "new", Some("new/1")).expect("the new event's report is due");
    }

    #[test]
    fn an_environment_with_an_extension_is_idle_when_both_wait() {
        let mut machine = Machine::new();
        machine.register_extension("x", "id-x".to_owned()).expect("registration is open");
        machine.next_event().expect("the first /next is due");
        assert!(!machine.is_idle(), "the extension has not called");
        assert!(!machine.deliver(key("a")));
        machine.extension_next(Some("id-x")).expect("it is registered");
        assert!(machine.deliver(key("a")));
    }

    #[test]
    fn extensions_have_names_and_no_name_twice_and_are_at_most_ten() {
        let mut machine = Machine::new();
        let register = |machine: &mut Machine, name: &str| {
            machine.register_extension(name, format!("id-{name}")).map_err(|refusal| refusal.error_type())
        };
        assert_eq!(register(&mut machine, ""), Err("Extension.InvalidExtensionName"));
        for n in 0..10 {
            assert_eq!(register(&mut machine, &n.to_string()), Ok(()));
        }
        assert_eq!(register(&mut machine, "3"), Err("Extension.InvalidExtensionState"));
        assert_eq!(register(&mut machine, "10"), Err("Extension.TooManyExtensions"));
        assert_eq!(
            machine.extension_next(None).map_err(|refusal| refusal.error_type()),
            Err("Extension.MissingExtensionIdentifier")
        );
    }

    #[test]
    fn refusals_speak_as_lambda_does() {
        let refusal = machine_in(State::Ready).init_error().expect_err("too late");
        assert_eq!(
            refusal.to_string(),
            "State transition from Ready to InitError failed for runtime. Error: State transition is not allowed"
        );
        assert_eq!(Refusal::RequestEntityTooLarge.to_string(), "Exceeded maximum allowed payload size (6291556 bytes).");
    }
}
