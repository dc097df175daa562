//! Every state by every call: one place alone, then one place beside another in every state, then what has ended.

use super::*;

use Caller::{Told, Waits};
use Report::{Error, Response, Stream};
use State::{Answered, Ready, Running, Started, Uploading};

/// The states of a place that is alone. Nobody is told of a timeout there: it ends the environment.
const ALONE: [State; 7] =
    [Started, Ready, Running(Waits), Uploading(Response, Waits), Uploading(Stream, Waits), Uploading(Error, Waits), Answered];

/// The states of a place that has another beside it.
const BESIDE: [State; 11] = [
    Started,
    Ready,
    Running(Waits),
    Running(Told),
    Uploading(Response, Waits),
    Uploading(Response, Told),
    Uploading(Stream, Waits),
    Uploading(Stream, Told),
    Uploading(Error, Waits),
    Uploading(Error, Told),
    Answered,
];

const NAMES: [&str; 2] = ["current", "beside"];

fn key(request_id: &str) -> InvocationKey {
    InvocationKey { request_id: request_id.to_owned(), invocation_id: format!("{request_id}/1") }
}

/// A machine brought to these states by the calls that lead there, not by writing the fields, and where each state's place is.
fn machine_in(states: &[State]) -> (Machine, Vec<usize>) {
    let mut machine = Machine::new(u16::try_from(states.len()).expect("two at most"));
    for _ in states.iter().filter(|&&state| state != Started) {
        assert_eq!(machine.next_event(), Ok(Next::Wait), "a free place takes a /next");
    }
    let mut places = vec![0; states.len()];
    let mut taken = 0;
    for (n, &state) in states.iter().enumerate().filter(|(_, state)| !matches!(state, Started | Ready)) {
        let id = NAMES[n];
        assert!(machine.deliver(key(id)), "a runtime in /next takes an event");
        places[n] = taken;
        taken += 1;
        let report = if let Uploading(report, _) = state { report } else { Response };
        if !matches!(state, Running(_)) {
            machine.begin(report, id, None).expect("a report is due");
        }
        if matches!(state, Running(Told) | Uploading(_, Told)) {
            machine.time_out(id);
        }
    }
    // The answers come last: a place that is answered would take the next event.
    for (n, _) in states.iter().enumerate().filter(|&(_, &state)| state == Answered) {
        machine.receive(NAMES[n], 2, MAX_RESPONSE_BYTES).expect("two bytes are not too many");
    }
    for waiting in [Ready, Started] {
        for (n, _) in states.iter().enumerate().filter(|&(_, &state)| state == waiting) {
            places[n] = taken;
            taken += 1;
        }
    }
    for (&place, &state) in places.iter().zip(states) {
        assert_eq!(machine.places[place].state, state, "{states:?}");
    }
    (machine, places)
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Call {
    Next,
    GiveUp,
    Deliver,
    Begin(Report),
    BeginOfAnotherId(Report),
    BeginOfAnotherAttempt(Report),
    Receive,
    ReceiveTooMuch,
    UnknownMode,
    BreakOff,
    TimeOut,
    InitError,
    RestoreNext,
    Register,
    ExtensionNextUnknown,
    End,
}

const CALLS: [Call; 22] = [
    Call::Next,
    Call::GiveUp,
    Call::Deliver,
    Call::Begin(Response),
    Call::Begin(Stream),
    Call::Begin(Error),
    Call::BeginOfAnotherId(Response),
    Call::BeginOfAnotherId(Stream),
    Call::BeginOfAnotherId(Error),
    Call::BeginOfAnotherAttempt(Response),
    Call::BeginOfAnotherAttempt(Stream),
    Call::BeginOfAnotherAttempt(Error),
    Call::Receive,
    Call::ReceiveTooMuch,
    Call::UnknownMode,
    Call::BreakOff,
    Call::TimeOut,
    Call::InitError,
    Call::RestoreNext,
    Call::Register,
    Call::ExtensionNextUnknown,
    Call::End,
];

const NOT_DUE: &str = "403 InvalidStateTransition";
const UNKNOWN: &str = "400 InvalidRequestID";
const OVER: &str = "410 InvokeTimeout";
const CLOSED: &str = "403 Extension.RegistrationClosed";

/// What the call gave: `ok`, another word, or the refusal's status and type.
fn make(machine: &mut Machine, call: Call) -> String {
    let said = |result: Result<(), Refusal>| match result {
        Ok(()) => "ok".to_owned(),
        Err(refusal) => format!("{} {}", refusal.status(), refusal.error_type()),
    };
    let yes = |answer: bool| if answer { "yes" } else { "no" }.to_owned();
    let done = || "ok".to_owned();
    match call {
        Call::Next => match machine.next_event() {
            Ok(Next::Wait) => "ok".to_owned(),
            Ok(Next::TakeOver) => "instead".to_owned(),
            Ok(Next::Again) => "again".to_owned(),
            Err(refusal) => said(Err(refusal)),
        },
        Call::GiveUp => {
            machine.give_up();
            done()
        }
        Call::Deliver => yes(machine.deliver(key("new"))),
        Call::Begin(report) => said(machine.begin(report, "current", Some("current/1"))),
        Call::BeginOfAnotherId(report) => said(machine.begin(report, "another", None)),
        Call::BeginOfAnotherAttempt(report) => said(machine.begin(report, "current", Some("current/0"))),
        Call::Receive => said(machine.receive("current", MAX_RESPONSE_BYTES, MAX_RESPONSE_BYTES)),
        Call::ReceiveTooMuch => said(machine.receive("current", MAX_RESPONSE_BYTES + 1, MAX_RESPONSE_BYTES)),
        Call::UnknownMode => said(Err(machine.unknown_mode("current"))),
        Call::BreakOff => yes(machine.break_off("current")),
        Call::TimeOut => {
            machine.time_out("current");
            done()
        }
        Call::InitError => said(machine.init_error()),
        Call::RestoreNext => said(Err(machine.restore_next())),
        Call::Register => said(machine.register_extension("x", "id".to_owned())),
        Call::ExtensionNextUnknown => said(machine.extension_next(Some("nobody"))),
        Call::End => {
            machine.end();
            done()
        }
    }
}

/// What a call about the invocation `current` gives, and the state of its place after it: the same whatever else there is.
fn of_its_own(call: Call, state: State) -> Option<(&'static str, State)> {
    let never_delivered = matches!(state, Started | Ready);
    Some(match (call, state) {
        (Call::BeginOfAnotherId(_), _) => (UNKNOWN, state),
        (Call::Begin(_) | Call::BeginOfAnotherAttempt(_), _) if never_delivered => (UNKNOWN, state),
        (Call::BeginOfAnotherAttempt(_), _) => (OVER, state),
        (Call::Begin(report), Running(caller)) => ("ok", Uploading(report, caller)),
        (Call::Begin(_), _) => (NOT_DUE, state),
        (Call::Receive, Uploading(_, Waits)) => ("ok", Answered),
        (Call::ReceiveTooMuch, Uploading(_, Waits)) => ("413 RequestEntityTooLarge", Answered),
        (Call::UnknownMode, Uploading(_, Waits)) => ("400 InvalidFunctionResponseMode", Answered),
        (Call::Receive | Call::ReceiveTooMuch | Call::UnknownMode, Uploading(_, Told)) => (OVER, Answered),
        (Call::Receive | Call::ReceiveTooMuch | Call::UnknownMode, _) => (OVER, state),
        (Call::BreakOff, Uploading(Stream, _)) => ("yes", Answered),
        (Call::BreakOff, Uploading(_, caller)) => ("no", Running(caller)),
        (Call::BreakOff, _) => ("no", state),
        (Call::RestoreNext, _) => (NOT_DUE, state),
        (Call::ExtensionNextUnknown, _) => ("403 Extension.UnknownExtensionIdentifier", state),
        _ => return None,
    })
}

#[test]
fn a_place_alone_answers_each_call_as_lambda_does() {
    for state in ALONE {
        for call in CALLS {
            let mut life = Life::Runs;
            let (answer, then) = of_its_own(call, state).unwrap_or_else(|| match (call, state) {
                (Call::Next, Started | Answered) => ("ok", Ready),
                (Call::Next, Ready) => ("instead", Ready),
                (Call::Next, Running(_)) => ("again", state),
                (Call::Next, _) => (NOT_DUE, state),
                (Call::GiveUp, Ready) => ("ok", Answered),
                (Call::GiveUp, _) => ("ok", state),
                (Call::Deliver, Ready) => ("yes", Running(Waits)),
                (Call::Deliver, _) => ("no", state),
                (Call::InitError, Started) => {
                    life = Life::InitError;
                    ("ok", state)
                }
                (Call::InitError, _) => (NOT_DUE, state),
                (Call::Register, Started) => ("ok", state),
                (Call::Register, _) => (CLOSED, state),
                (Call::TimeOut | Call::End, _) => {
                    life = Life::Ended;
                    ("ok", state)
                }
                (call, _) => panic!("{call:?} is in no table"),
            });
            let (mut machine, _) = machine_in(&[state]);
            assert_eq!(make(&mut machine, call), answer, "{call:?} in {state:?}");
            assert_eq!((machine.places[0].state, machine.life), (then, life), "after {call:?} in {state:?}");
        }
    }
}

#[test]
fn a_place_beside_another_answers_each_call_for_itself() {
    for state in BESIDE {
        for beside in BESIDE {
            let one_is = |wanted: State| state == wanted || beside == wanted;
            for call in CALLS {
                let (mut machine, places) = machine_in(&[state, beside]);
                let answer = make(&mut machine, call);
                let after = |n: usize| machine.places[places[n]].state;
                let context = format!("{call:?} in {state:?} beside {beside:?}");

                if let Some((wanted, then)) = of_its_own(call, state) {
                    assert_eq!(answer, wanted, "{context}");
                    assert_eq!((after(0), after(1), machine.life), (then, beside, Life::Runs), "after {context}");
                    continue;
                }
                // One of the two places goes from a state to another, whichever of them it is.
                let mut life = Life::Runs;
                let (wanted, change) = match call {
                    Call::Next if state.is_free() || beside.is_free() => ("ok", Some((None, Ready))),
                    Call::Next => (NOT_DUE, None),
                    Call::GiveUp => ("ok", one_is(Ready).then_some((Some(Ready), Answered))),
                    Call::Deliver if one_is(Ready) => ("yes", Some((Some(Ready), Running(Waits)))),
                    Call::Deliver => ("no", None),
                    Call::InitError if state == Started && beside == Started => {
                        life = Life::InitError;
                        ("ok", None)
                    }
                    Call::InitError => (NOT_DUE, None),
                    Call::Register => (CLOSED, None),
                    Call::TimeOut => {
                        let told = match state {
                            Running(_) => Running(Told),
                            Uploading(report, _) => Uploading(report, Told),
                            state => state,
                        };
                        assert_eq!((after(0), after(1)), (told, beside), "only its own: {context}");
                        ("ok", Some((Some(state), told)))
                    }
                    Call::End => {
                        life = Life::Ended;
                        ("ok", None)
                    }
                    call => panic!("{call:?} is in no table"),
                };
                assert_eq!(answer, wanted, "{context}");
                assert_eq!(machine.life, life, "after {context}");
                let before = [state, beside];
                let after = [after(0), after(1)];
                let allowed = match change {
                    None => after == before,
                    Some((from, to)) => (0..2).any(|n| {
                        let mut then = before;
                        then[n] = to;
                        from.map_or_else(|| before[n].is_free(), |from| before[n] == from) && after == then
                    }),
                };
                assert!(allowed, "{after:?} after {context}");
            }
        }
    }
}

#[test]
fn after_an_init_error_and_after_the_end_nothing_is_due() {
    let (mut machine, _) = machine_in(&[Started, Started]);
    machine.init_error().expect("it is due");
    for call in CALLS {
        let mut machine = machine.clone();
        let wanted = match call {
            Call::Next | Call::InitError | Call::RestoreNext => NOT_DUE,
            Call::Begin(_) | Call::BeginOfAnotherId(_) | Call::BeginOfAnotherAttempt(_) => UNKNOWN,
            Call::Receive | Call::ReceiveTooMuch | Call::UnknownMode => OVER,
            Call::Deliver | Call::BreakOff => "no",
            Call::Register => CLOSED,
            Call::ExtensionNextUnknown => "403 Extension.UnknownExtensionIdentifier",
            Call::GiveUp | Call::TimeOut | Call::End => "ok",
        };
        assert_eq!(make(&mut machine, call), wanted, "{call:?} after an init error");
    }
    for state in BESIDE {
        let (mut machine, _) = machine_in(&[state, Ready]);
        machine.end();
        let known = !matches!(state, Started | Ready);
        for call in CALLS {
            let mut machine = machine.clone();
            let wanted = match call {
                // It waits for ever: nothing is delivered any more.
                Call::Next => "ok",
                Call::BeginOfAnotherId(_) => UNKNOWN,
                Call::Begin(_) | Call::BeginOfAnotherAttempt(_) => {
                    if known {
                        OVER
                    } else {
                        UNKNOWN
                    }
                }
                Call::Receive | Call::ReceiveTooMuch | Call::UnknownMode => OVER,
                Call::Deliver | Call::BreakOff => "no",
                Call::InitError | Call::RestoreNext => NOT_DUE,
                Call::Register => CLOSED,
                Call::ExtensionNextUnknown => "403 Extension.UnknownExtensionIdentifier",
                Call::GiveUp | Call::TimeOut | Call::End => "ok",
            };
            assert_eq!(make(&mut machine, call), wanted, "{call:?} after the end in {state:?}");
            assert!(machine.has_ended() && !machine.is_idle(), "{call:?} after the end in {state:?}");
        }
    }
}

#[test]
fn an_answered_id_stays_current_until_the_next_event_is_delivered() {
    let (mut machine, _) = machine_in(&[Answered]);
    let refused = |machine: &mut Machine| machine.begin(Error, "current", None).map_err(|r| r.status());
    assert_eq!(refused(&mut machine), Err(403), "a second report");
    machine.next_event().expect("/next is due after an answer");
    assert_eq!(refused(&mut machine), Err(403), "a second report after /next");
    assert!(machine.deliver(key("new")));
    assert_eq!(refused(&mut machine), Err(400), "a report of the event before");
    machine.begin(Response, "new", Some("new/1")).expect("the new event's report is due");
}

#[test]
fn as_many_calls_wait_or_have_an_event_as_there_are_places() {
    let mut machine = Machine::new(3);
    for n in 0..3 {
        assert_eq!(machine.next_event(), Ok(Next::Wait), "{n}");
    }
    let refused = |machine: &mut Machine| machine.next_event().map_err(|refusal| refusal.status());
    assert_eq!(refused(&mut machine), Err(403), "three wait");
    for id in ["a", "b", "c"] {
        assert!(machine.deliver(key(id)), "{id}");
        assert_eq!(refused(&mut machine), Err(403), "with {id} delivered");
    }
    assert!(!machine.deliver(key("d")));
    for id in ["b", "a"] {
        machine.begin(Response, id, None).expect("its report is due");
        machine.receive(id, 2, MAX_RESPONSE_BYTES).expect("its answer has come");
        assert_eq!(machine.next_event(), Ok(Next::Wait), "after {id}");
    }
    assert_eq!(refused(&mut machine), Err(403), "c keeps its place");
}

#[test]
fn an_invocation_that_timed_out_keeps_its_place_until_its_report_is_refused() {
    let mut machine = Machine::new(2);
    for id in ["a", "b"] {
        machine.next_event().expect("a place is free");
        assert!(machine.deliver(key(id)));
    }
    machine.time_out("a");
    assert!(!machine.has_ended());
    assert!(machine.next_event().is_err(), "its place is taken");
    machine.begin(Response, "a", None).expect("the report is taken up");
    assert!(machine.next_event().is_err(), "its report is on its way");
    assert_eq!(machine.receive("a", 2, MAX_RESPONSE_BYTES), Err(Refusal::InvokeTimeout));
    assert_eq!(machine.next_event(), Ok(Next::Wait), "its place is free");
    machine.begin(Response, "b", None).expect("the other is not concerned");
}

#[test]
fn an_environment_with_an_extension_is_idle_when_both_wait() {
    let mut machine = Machine::new(1);
    machine.register_extension("x", "id-x".to_owned()).expect("registration is open");
    machine.next_event().expect("the first /next is due");
    assert!(!machine.is_idle(), "the extension has not called");
    assert!(!machine.deliver(key("a")));
    machine.extension_next(Some("id-x")).expect("it is registered");
    assert!(machine.deliver(key("a")));
}

#[test]
fn none_counts_as_one_place() {
    assert_eq!(Machine::new(0).places.len(), 1);
}
