//! `bootstrap check`: the examples pass, and what breaks a rule is caught by that rule.

use std::collections::BTreeMap;
use std::path::Path;

use bootstrap::local::check::rules::RULES;
use rustix::process::Signal;
use serde_json::Value;

use super::support::{Ended, Running, binary, bootstrap, fixture, path};

/// An event that is none of the awkward ones.
const SAMPLE: &str = r#"{"name":"world"}"#;

/// More time than a busy machine takes, where nothing is to be waited for in vain.
const PATIENT: [&str; 4] = ["--timeout", "60", "--stop-grace-ms", "60000"];

/// A check that has ended.
struct Checked {
    code: i32,
    stdout: String,
    stderr: String,
}

/// `bootstrap check` and these arguments, in the project's folder.
fn start(arguments: &[&str]) -> Running {
    let mut local = bootstrap(["check"]).env("PATH", path()).env("LAMBDA_TASK_ROOT", env!("CARGO_MANIFEST_DIR"));
    local.args.extend(arguments.iter().map(Into::into));
    local.start()
}

impl From<Ended> for Checked {
    fn from(Ended { code, stdout, stderr, .. }: Ended) -> Self {
        Checked { code, stdout: String::from_utf8(stdout).unwrap(), stderr }
    }
}

impl Checked {
    /// The verdicts of a report in JSON, by rule.
    #[track_caller]
    fn verdicts(&self) -> BTreeMap<String, Value> {
        let report: Value = serde_json::from_str(&self.stdout).unwrap_or_else(|e| panic!("{e}: {}\n{}", self.stdout, self.stderr));
        let rules = report["rules"].as_array().unwrap();
        rules.iter().map(|rule| (rule["id"].as_str().unwrap().to_owned(), rule.clone())).collect()
    }

    /// The rules with this verdict.
    #[track_caller]
    fn with(&self, verdict: &str) -> Vec<String> {
        self.verdicts().into_iter().filter(|(_, rule)| rule["verdict"] == verdict).map(|(id, _)| id).collect()
    }

    /// Nothing is broken, and only these do not apply.
    #[track_caller]
    fn passes_but_for(&self, not_applicable: &[&str]) {
        assert_eq!((self.code, self.with("broken")), (0, Vec::new()), "{}\n{}", self.stdout, self.stderr);
        assert_eq!(self.with("doesNotApply"), not_applicable, "{}", self.stdout);
    }

    /// These rules are broken and no other.
    #[track_caller]
    fn breaks(&self, rules: &[&str]) -> &Checked {
        assert_eq!((self.code, self.with("broken")), (1, to_strings(&sorted(rules, &[]))), "{}", self.stdout);
        for id in rules {
            let rule = &self.verdicts()[*id];
            for member in ["rule", "sent", "came", "mend"] {
                assert!(rule[member].as_str().is_some_and(|text| !text.is_empty()), "{rule}");
            }
        }
        self
    }

    /// What came, where this rule is broken, has these words.
    #[track_caller]
    fn came(&self, rule: &str, words: &str) {
        let came = self.verdicts()[rule]["came"].as_str().unwrap_or_default().to_owned();
        assert!(came.contains(words), "{words:?} is not in {came:?}");
    }
}

/// A check, its report in JSON.
#[track_caller]
fn check(options: &[&str], command: &[&str]) -> Checked {
    start(&[&["--format", "json"], options, &["--"], command].concat()).end().into()
}

/// A check of the handler that breaks this rule, with more options.
#[track_caller]
fn breaking_with(rule: &str, options: &[&str]) -> Checked {
    let handler = fixture("checked/breaks_a_rule.py");
    check(&[&["--event", SAMPLE], options].concat(), &[handler.to_str().unwrap(), rule])
}

#[track_caller]
fn breaking(rule: &str) -> Checked {
    breaking_with(rule, &PATIENT)
}

/// The path of an example.
fn example(name: &str) -> String {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("examples").join(name);
    file.to_str().unwrap().to_owned()
}

/// A handler whose answers are awaited no longer than this, since it gives none.
const IMPATIENT: [&str; 2] = ["--timeout", "2"];

/// The rules that only mode jsonl has.
const ONLY_JSONL: [&str; 5] = ["concurrency", "no-event", "reply-ids", "stray-lines", "unknown-members"];

fn to_strings(ids: &[&str]) -> Vec<String> {
    ids.iter().map(ToString::to_string).collect()
}

fn sorted<'a>(ids: &[&'a str], more: &[&'a str]) -> Vec<&'a str> {
    let mut all = [ids, more].concat();
    all.sort_unstable();
    all
}

#[test]
fn the_shell_example_without_a_parser_passes() {
    check(&PATIENT, &[&example("shell/hello.sh")]).passes_but_for(&["concurrency"]);
}

#[test]
fn the_shell_example_with_jq_passes() {
    // It starts jq for each event, so its row of events may be cut short, and its memory is not measured then.
    let checked = check(&[&["--event", r#"{"name":"Zoë"}"#], &PATIENT[..]].concat(), &[&example("shell/greet.sh")]);
    assert_eq!((checked.code, checked.with("broken")), (0, Vec::new()), "{}", checked.stdout);
}

#[test]
fn the_shell_example_that_streams_passes() {
    let event = ["--event", r#"{"rawQueryString":"n=12,91"}"#];
    check(&[&event, &PATIENT[..]].concat(), &[&example("shell/page.sh")]).passes_but_for(&["concurrency"]);
}

#[test]
fn the_jq_filter_passes() {
    let filter = ["jq", "--unbuffered", "-cn", "inputs | {hello: .name}"];
    let options = [&["--mode", "filter", "--event", SAMPLE], &PATIENT[..]].concat();
    check(&options, &filter).passes_but_for(&sorted(&ONLY_JSONL, &["event-not-json"]));
}

#[test]
fn the_one_shot_example_passes() {
    let options = [&["--mode", "oneshot", "--event", r#"{"text":"x y"}"#], &PATIENT[..]].concat();
    let own_process = ["freeze", "log-before-reply", "log-lines", "memory", "one-reply", "sigterm", "zombies"];
    check(&options, &[&example("shell/words.sh")]).passes_but_for(&sorted(&ONLY_JSONL, &own_process));
}

#[test]
fn the_streaming_example_passes() {
    let event = ["--event", r#"{"queryStringParameters":{"n":"12,91"}}"#];
    check(&[&event, &PATIENT[..]].concat(), &[&example("python-stream/page.py")]).passes_but_for(&["concurrency"]);
}

#[test]
fn the_concurrent_example_passes() {
    let event = ["--event", r#"{"lines":[{"sku":"tea","quantity":2}]}"#];
    check(&[&event, &PATIENT[..]].concat(), &[&example("node-concurrent/prices.mjs")]).passes_but_for(&[]);
}

#[test]
fn a_handler_that_breaks_nothing_passes() {
    breaking("").passes_but_for(&["concurrency"]);
}

/// A check of a handler that keeps every rule, in this way.
#[track_caller]
fn honest(way: &str, options: &[&str]) -> Checked {
    check(options, &[fixture("checked/honest.py").to_str().unwrap(), way])
}

#[test]
fn replies_of_any_length_are_read() {
    // Its row of events may be cut short, and its memory is not measured then.
    let checked = honest("replies-at-length", &PATIENT);
    assert_eq!((checked.code, checked.with("broken")), (0, Vec::new()), "{}", checked.stdout);
}

#[test]
fn a_log_line_on_stdout_may_have_the_id_and_the_word_response() {
    honest("logs-its-ids", &PATIENT).passes_but_for(&["concurrency"]);
}

#[test]
fn every_message_has_the_context_that_lambda_gives() {
    honest("knows-its-context", &PATIENT).passes_but_for(&["concurrency"]);
}

#[test]
fn a_process_may_end_after_each_reply() {
    let checked = honest("ends-after-each-reply", &PATIENT);
    assert_eq!((checked.code, checked.with("broken")), (0, Vec::new()), "{}", checked.stdout);
    let verdicts = checked.verdicts();
    for rule in ["unknown-members", "no-event", "log-before-reply", "end-of-stdin", "sigterm"] {
        assert_eq!(verdicts[rule]["verdict"], "kept", "{}", checked.stdout);
    }
}

#[test]
fn a_start_may_take_longer_than_an_event() {
    let checked = honest("starts-slowly", &["--timeout", "2", "--stop-grace-ms", "60000"]);
    let verdicts = checked.verdicts();
    for rule in ["unknown-members", "no-event", "log-before-reply", "end-of-stdin", "sigterm", "deadline"] {
        assert_eq!(verdicts[rule]["verdict"], "kept", "{}", checked.stdout);
    }
}

#[test]
fn the_end_of_one_process_is_not_taken_for_the_end_at_the_end_of_stdin() {
    let options = ["--timeout", "2", "--stop-grace-ms", "60000"];
    let checked = breaking_with("no-event-and-end-of-stdin", &options);
    let broken = checked.with("broken");
    assert!(["no-event", "end-of-stdin"].iter().all(|rule| broken.contains(&(*rule).to_owned())), "{}", checked.stdout);
}

#[test]
fn where_there_is_no_answer_no_rule_of_answers_is_kept() {
    let checked = check(&["--timeout", "1"], &["sh", "-c", "while read -r line; do :; done"]);
    checked.breaks(&["answer"]);
    assert_eq!(checked.with("kept"), ["end-of-stdin", "start"], "{}", checked.stdout);
}

#[test]
fn a_crash_at_another_event_is_not_told_as_a_fault_of_concurrency() {
    let checked = breaking("concurrency-without-null");
    checked.breaks(&["event-null"]);
}

#[test]
fn what_a_timer_prints_later_is_caught() {
    breaking("log-by-a-timer").breaks(&["log-before-reply"]).came("log-before-reply", "by a timer");
    let checked = breaking("reply-by-a-timer");
    checked.came("one-reply", "\"response\": 2");
}

#[test]
fn a_leak_is_caught_in_a_row_that_is_cut_short() {
    breaking("memory-slowly").breaks(&["memory"]).came("memory", "MB at the end");
}

#[test]
fn what_others_take_of_the_processor_is_not_the_handlers_fault() {
    let checked = honest("ends-on-a-busy-machine", &["--timeout", "60", "--stop-grace-ms", "1000"]);
    assert_eq!(checked.with("broken"), Vec::<String>::new(), "{}", checked.stdout);
}

#[test]
fn a_filter_that_logs_after_its_response_is_caught() {
    let late = "while IFS= read -r line; do echo early >&2; echo 1; echo late >&2; done";
    let options = [&["--mode", "filter"], &PATIENT[..]].concat();
    check(&options, &["sh", "-c", late]).breaks(&["log-before-reply"]).came("log-before-reply", "late");
    let early = "while IFS= read -r line; do echo early >&2; echo 1; done";
    assert_eq!(check(&options, &["sh", "-c", early]).with("broken"), Vec::<String>::new());
}

#[test]
fn a_filter_on_descriptor_3_may_print_to_stdout() {
    let prints = "while IFS= read -r line; do echo 1 >&3; echo printed; done";
    let options = [&["--mode", "filter"], &PATIENT[..]].concat();
    let checked = check(&options, &["sh", "-c", prints]);
    checked.breaks(&["log-before-reply"]).came("log-before-reply", "printed");
}

#[test]
fn a_one_shot_program_has_its_context_when_it_is_watched_to_its_end() {
    let needs = [
        "set -eu; cat; : $AWS_LAMBDA_REQUEST_ID $AWS_LAMBDA_DEADLINE_MS $AWS_LAMBDA_INVOKED_FUNCTION_ARN $_X_AMZN_TRACE_ID",
        "$TRACEPARENT; setsid sleep 600 </dev/null >/dev/null 2>&1 &",
    ];
    check(&["--mode", "oneshot", "--timeout", "60"], &["sh", "-c", &needs.join(" ")]).breaks(&["end-of-stdin"]);
}

#[test]
fn a_log_line_of_json_may_say_that_something_is_ready() {
    honest("logs-json", &PATIENT).passes_but_for(&["concurrency"]);
}

#[test]
fn a_process_may_be_waited_for_in_the_next_event() {
    let checked = honest("waits-in-the-next-event", &PATIENT);
    assert_eq!(checked.with("broken"), Vec::<String>::new(), "{}", checked.stdout);
    assert_eq!(checked.verdicts()["zombies"]["verdict"], "kept", "{}", checked.stdout);
}

/// A rule, and the options with which its handler is checked, the rules that it breaks by that, and words of what came.
type Case = (&'static str, &'static [&'static str], &'static [&'static str], &'static str);

macro_rules! breaks {
    ($($name:ident: $rule:literal, $options:expr, $broken:expr, $words:literal;)*) => {
        /// Each rule has a case, so that a new one is not forgotten.
        const CASES: &[Case] = &[$(($rule, $options, $broken, $words)),*];

        $(
            #[test]
            fn $name() {
                breaking_with($rule, $options).breaks($broken).came($broken[0], $words);
            }
        )*
    };
}

breaks! {
    a_slow_start_is_caught: "start", &["--timeout", "60", "--init-timeout-ms", "100"], &["start"], "not ready after 100 ms";
    no_answer_is_caught: "answer", &PATIENT, &["answer"], "exit status 3";
    a_line_reader_that_splits_at_u2028_is_caught: "event-unicode", &PATIENT, &["event-unicode"], "exit status 3";
    a_parser_without_all_escapes_is_caught: "event-escapes", &PATIENT, &["event-escapes"], "exit status 3";
    a_number_too_large_is_caught: "event-numbers", &PATIENT, &["event-numbers"], "exit status 3";
    a_recursion_too_deep_is_caught: "event-deep", &PATIENT, &["event-deep"], "exit status 3";
    a_stumble_over_null_is_caught: "event-null", &PATIENT, &["event-null"], "exit status 3";
    a_stumble_over_a_scalar_is_caught: "event-scalar", &PATIENT, &["event-scalar"], "exit status 3";
    a_stumble_over_an_empty_object_is_caught: "event-empty", &PATIENT, &["event-empty"], "exit status 3";
    a_line_too_long_is_caught: "event-large", &PATIENT, &["event-large"], "exit status 3";
    a_stumble_over_white_space_is_caught: "event-pretty", &PATIENT, &["event-pretty"], "exit status 3";
    a_stumble_over_base64_is_caught: "event-not-json", &PATIENT, &["event-not-json"], "exit status 3";
    an_event_dropped_for_its_content_is_caught: "same-event", &PATIENT, &["same-event", "many-events", "unknown-members"], "exit status 3";
    what_is_used_up_is_caught: "many-events", &PATIENT, &["many-events"], "exit status 3";
    a_leak_is_caught: "memory", &PATIENT, &["memory"], "MB at the end";
    zombies_are_caught: "zombies", &PATIENT, &["zombies"], "waited for by nobody";
    a_stumble_over_unknown_members_is_caught: "unknown-members", &PATIENT, &["unknown-members"], "no reply";
    a_reply_to_no_event_is_caught: "no-event", &PATIENT, &["no-event"], "\"response\": null";
    another_id_is_caught: "reply-ids", &PATIENT, &["reply-ids"], "\"another\"";
    a_repeated_reply_is_caught: "one-reply", &PATIENT, &["one-reply"], "\"response\": 1";
    a_stray_line_is_caught: "stray-lines", &PATIENT, &["stray-lines"], "{\"response\":1}";
    a_late_log_line_is_caught: "log-before-reply", &PATIENT, &["log-before-reply"], "too late";
    a_log_line_without_newline_is_caught: "log-lines", &PATIENT, &["log-lines"], "no newline";
    a_handler_that_stays_is_caught: "end-of-stdin", &IMPATIENT, &["end-of-stdin"], "still there after 2.0 seconds";
    a_deaf_ear_for_sigterm_is_caught: "sigterm", &["--timeout", "60"], &["sigterm"], "still there after 0.2 seconds";
    a_watchdog_is_caught: "freeze", &PATIENT, &["freeze"], "another took its place";
    a_lock_that_stays_is_caught: "deadline", &PATIENT, &["deadline"], "exit status 1";
    mixed_ids_are_caught: "concurrency", &PATIENT, &["concurrency"], "with the id of an event whose response is";
}

#[test]
fn each_rule_has_a_handler_that_breaks_it() {
    let cases: Vec<&str> = CASES.iter().map(|(rule, ..)| *rule).collect();
    let rules: Vec<&str> = RULES.iter().map(|rule| rule.id).collect();
    assert_eq!(sorted(&cases, &[]), sorted(&rules, &[]));
    assert!(CASES.iter().all(|(rule, _, broken, _)| broken.contains(rule)));
}

#[test]
fn unknown_members_of_the_context_count_too() {
    breaking("unknown-members-of-the-context").breaks(&["unknown-members"]);
}

#[test]
fn a_reply_that_is_no_json_is_a_stray_line() {
    breaking("stray-words").breaks(&["stray-lines"]).came("stray-lines", "'response': 1");
}

#[test]
fn a_process_left_behind_is_caught_and_ended() {
    // The runtime gives what a handler leaves behind the whole grace period.
    let options = ["--timeout", "60", "--stop-grace-ms", "5000"];
    breaking_with("what-is-left", &options).breaks(&["end-of-stdin"]).came("end-of-stdin", "left behind sleep (");
    let daemon = "cat; setsid sleep 600 </dev/null >/dev/null 2>&1 &";
    check(&[&["--mode", "oneshot"], &options[..]].concat(), &["sh", "-c", daemon])
        .breaks(&["end-of-stdin"])
        .came("end-of-stdin", "left behind sleep (");
}

#[test]
fn a_filter_with_two_lines_for_an_event_is_caught() {
    let twice = "while IFS= read -r line; do printf '%s\\n%s\\n' \"$line\" \"$line\"; done";
    let options = [&["--mode", "filter", "--event", SAMPLE], &PATIENT[..]].concat();
    let checked = check(&options, &["sh", "-c", twice]);
    assert_eq!(checked.code, 1);
    assert!(checked.with("broken").contains(&"one-reply".to_owned()), "{}", checked.stdout);
    checked.came("one-reply", SAMPLE);
}

#[test]
fn a_handler_that_does_not_start_is_told_and_the_rest_is_not_tried() {
    let checked = check(&PATIENT, &["./there/is/none"]);
    checked.breaks(&["answer", "start"]).came("start", "Runtime.HandlerNotFound");
    assert_eq!(checked.with("kept"), Vec::<String>::new());
}

#[test]
fn the_text_is_for_people() {
    let broken = start(
        &[&["--event", "null"], &PATIENT[..], &["--", fixture("checked/breaks_a_rule.py").to_str().unwrap(), "event-null"]]
            .concat(),
    );
    let broken = Checked::from(broken.end());
    assert_eq!(broken.code, 1, "{}\n{}", broken.stdout, broken.stderr);
    let lines: Vec<&str> = broken.stdout.lines().collect();
    let at = lines.iter().position(|line| *line == "broken  answer            It answers the sample event").unwrap();
    let words: Vec<&str> = lines[at + 1..at + 4].iter().map(|line| line.split_whitespace().next().unwrap()).collect();
    assert_eq!(words, ["sent", "came", "mend"], "{}", broken.stdout);
    assert!(lines.last().unwrap().starts_with("28 rules: "), "{}", broken.stdout);
    assert!(!broken.stdout.contains('\x1b'), "no colours in a file");
}

#[test]
fn mistakes_on_the_command_line_are_told_and_nothing_is_run() {
    for (arguments, told) in [
        (&["--event", "{name: world}", "--", "sh"][..], "--event is not JSON"),
        (&["--format", "xml", "--", "sh"][..], "--format"),
        (&["--mode", "lines", "--", "sh"][..], "--mode"),
        (&[][..], "no handler to run"),
    ] {
        let ended = Checked::from(start(arguments).end());
        assert!(ended.code == 2 && ended.stderr.contains(told) && ended.stdout.is_empty(), "{}\n{}", ended.code, ended.stderr);
    }
}

#[test]
fn a_json_log_line_may_have_an_id_and_an_end_of_its_own() {
    honest("logs-an-end", &PATIENT).passes_but_for(&["concurrency"]);
}

#[test]
fn a_warning_is_seen_behind_any_amount_of_log() {
    breaking("one-reply-behind-logs").breaks(&["one-reply"]).came("one-reply", "a reply was dropped");
    let filter = ["sh", "-c", "while IFS= read -r line; do n=$((n + 1)); echo 1; if [ $n = 900 ]; then echo 2; fi; done"];
    let noisy = ["sh", "-c", &filter[2].replace("echo 1;", "printf '%08000d\\n' 0 >&2; echo 1;")];
    for command in [&filter, &noisy] {
        let options = [&["--mode", "filter", "--event", SAMPLE], &PATIENT[..]].concat();
        check(&options, command).breaks(&["one-reply"]).came("one-reply", "wrote a line to which there is no event");
    }
}

#[test]
fn a_log_level_above_warnings_hides_none_from_the_check() {
    breaking_with("start", &["--timeout", "60", "--init-timeout-ms", "100", "--env", "AWS_LAMBDA_LOG_LEVEL=ERROR"])
        .breaks(&["start"])
        .came("start", "not ready after 100 ms");
}

#[test]
fn a_lock_that_stays_is_caught_in_oneshot_too() {
    let options = [&["--mode", "oneshot"], &PATIENT[..]].concat();
    let lock = "mkdir \"$TEST_DIR/lock\" || exit 9; cat; rmdir \"$TEST_DIR/lock\"";
    check(&options, &["sh", "-c", lock]).breaks(&["deadline"]).came("deadline", "exit status 9");
}

#[test]
fn a_process_for_each_event_may_end_in_the_middle_of_a_log_line() {
    let options = [&["--mode", "oneshot"], &PATIENT[..]].concat();
    let checked = check(&options, &["sh", "-c", "printf 'no newline' >&2; exec cat"]);
    assert_eq!((checked.code, checked.with("broken")), (0, Vec::new()), "{}", checked.stdout);
}

#[test]
fn no_answer_at_all_may_be_one_that_was_not_flushed() {
    let options = [&["--timeout", "1", "--mode", "filter"][..], &["--event", SAMPLE]].concat();
    let checked = check(&options, &["jq", "-c", "."]);
    let mend = checked.verdicts()["answer"]["mend"].as_str().unwrap().to_owned();
    assert!(checked.code == 1 && mend.contains("Flush stdout after each reply"), "{}", checked.stdout);
}

#[test]
fn the_text_does_what_a_handler_wants_to_no_terminal() {
    let reply = r#"read -r line; id=${line#*\"id\":\"}; printf '{"id":"%s","response":\033[2J}\n' "${id%%\"*}""#;
    let ended = Checked::from(start(&[&PATIENT[..], &["--", "sh", "-c", reply]].concat()).end());
    assert!(ended.code == 1 && ended.stdout.contains("Runtime.InvalidReply"), "{}", ended.stdout);
    assert!(!ended.stdout.contains('\x1b') && ended.stdout.contains("\"response\": [2J}"), "{}", ended.stdout);
}

#[test]
fn a_filter_may_log_its_response_before_it_sends_it() {
    let options = [&["--mode", "filter", "--event", SAMPLE], &PATIENT[..]].concat();
    let each = "printf '%s\\n' \"$line\" >&2; echo working >&2; printf '%s\\n' \"$line\"";
    let checked = check(&options, &["sh", "-c", &format!("while IFS= read -r line; do {each}; done")]);
    checked.passes_but_for(&sorted(&ONLY_JSONL, &["event-not-json"]));
}

#[test]
fn what_is_always_late_is_told_of_the_answer_alone() {
    breaking_with("answers-late", &["--timeout", "2", "--stop-grace-ms", "60000"]).breaks(&["answer"]);
}

#[test]
fn a_process_that_was_there_before_the_check_is_left_alone() {
    // It is the check's own child: the shell becomes the check.
    let script = "sleep 600 </dev/null >/dev/null 2>&1 & echo $! >\"$0\"; exec \"$1\" check --mode oneshot --timeout 60 -- cat";
    let directory = tempfile::tempdir().unwrap();
    let file = directory.path().join("pid");
    let output =
        std::process::Command::new("sh").args(["-c", script]).args([file.as_os_str(), binary().as_os_str()]).output().unwrap();
    let pid: i32 = std::fs::read_to_string(&file).unwrap().trim().parse().unwrap();
    // A process that has ended has no command line.
    let was_there = !std::fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default().is_empty();
    if was_there {
        rustix::process::kill_process(rustix::process::Pid::from_raw(pid).unwrap(), Signal::KILL).unwrap();
    }
    let report = String::from_utf8_lossy(&output.stdout);
    assert!(was_there && output.status.success(), "{report}");
}

#[test]
fn ctrl_c_ends_the_check_and_the_handler() {
    let running = start(&["--timeout", "900", "--", "sh", "-c", "read -r line; touch \"$TEST_DIR/asked\"; sleep 900"]);
    running.wait_file("asked");
    running.signal(Signal::INT);
    let ended = Checked::from(running.end());
    assert_eq!((ended.code, ended.stdout.as_str()), (130, ""), "{}", ended.stderr);
}
