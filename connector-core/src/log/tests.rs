use proptest::prelude::*;

use super::capture::Captured;
use super::*;

/// What `log` writes, in an encoding.
fn written(encoding: LogEncoding, debug: bool, log: impl FnOnce()) -> String {
    let captured = Captured::default();
    let lines = Lines::new(encoding, captured.clone());
    let subscriber =
        tracing_subscriber::registry().with(lines.with_filter(levels("kafka", &["chatty"], debug)));
    tracing::subscriber::with_default(subscriber, log);
    captured.text()
}

#[test]
fn a_console_line_is_time_level_message_and_fields() {
    let line = written(LogEncoding::Console, false, || {
        tracing::warn!(topic = "orders", tries = 3, empty = "", error = "a b", "not {}", "well");
    });
    let (time, rest) = line.split_once(' ').unwrap();
    assert_eq!((time.len(), &time[10..11], &time[26..]), (27, "T", "Z"), "RFC 3339 in UTC");
    assert_eq!(rest, " WARN not well topic=orders tries=3 empty=\"\" error=\"a b\"\n");
}

#[test]
fn a_json_line_is_one_object_with_typed_fields() {
    let line = written(LogEncoding::Json, false, || {
        tracing::info!(tries = 3, ok = true, ratio = f64::INFINITY, error = ?"a\"b", "x\ny");
    });
    assert_eq!(line.matches('\n').count(), 1);
    let object: serde_json::Value = serde_json::from_str(&line).unwrap();
    assert_eq!(object["level"], "info");
    assert_eq!(object["message"], "x\ny");
    assert_eq!(object["tries"], 3);
    assert_eq!(object["ok"], true);
    assert_eq!(object["ratio"], "inf");
    assert_eq!(object["error"], "\"a\\\"b\"");
    assert!(object["time"].as_str().unwrap().ends_with('Z'));
}

#[test]
fn debug_is_for_our_own_crates_and_only_when_asked_for() {
    let log = || {
        tracing::debug!(target: "connector_core::dispatch", "core");
        tracing::debug!(target: "kafka_connector", "source");
        tracing::debug!(target: "hyper", "stranger");
        tracing::debug!(target: "chatty", "stranger");
        tracing::info!(target: "hyper", "news");
        tracing::error!(target: "chatty::connector", "each attempt");
    };
    assert_eq!(written(LogEncoding::Console, false, log).lines().count(), 1);
    let lines = written(LogEncoding::Console, true, log);
    assert_eq!(lines.lines().count(), 4);
    assert!(!lines.contains("stranger"));
}

#[test]
fn an_output_that_is_gone_is_no_error() {
    struct Gone;
    impl io::Write for Gone {
        fn write(&mut self, _: &[u8]) -> io::Result<usize> {
            Err(io::ErrorKind::BrokenPipe.into())
        }
        fn flush(&mut self) -> io::Result<()> {
            Err(io::ErrorKind::BrokenPipe.into())
        }
    }
    let subscriber = tracing_subscriber::registry().with(Lines::new(LogEncoding::Console, Gone));
    tracing::subscriber::with_default(subscriber, || tracing::info!("to nobody"));
}

#[test]
fn a_chain_names_every_cause_once() {
    #[derive(Debug, thiserror::Error)]
    #[error("outer")]
    struct Outer(#[source] io::Error);
    let error = Outer(io::Error::other("inner"));
    assert_eq!(Chain(&error).to_string(), "outer: inner");

    #[derive(Debug, thiserror::Error)]
    #[error("repeats: {0}")]
    struct Repeats(#[source] Outer);
    let error = Repeats(Outer(io::Error::other("inner")));
    assert_eq!(Chain(&error).to_string(), "repeats: outer: inner");
}

proptest! {
    #[test]
    fn no_line_is_long_or_more_than_one(
        message in any::<String>(),
        field in any::<String>(),
        times in 0_usize..300,
    ) {
        let (message, field) = (message.repeat(times), field.repeat(times));
        for encoding in [LogEncoding::Console, LogEncoding::Json] {
            let line = written(encoding, false, || {
                tracing::info!(first = %field, times, second = %field, "{message}");
            });
            prop_assert!(line.len() <= MOST, "{}", line.len());
            prop_assert!(line.ends_with('\n'));
            prop_assert_eq!(line.lines().count(), 1);
            if encoding == LogEncoding::Json {
                let object: serde_json::Value = serde_json::from_str(&line).unwrap();
                let whole = object["message"] == message && object["second"] == field;
                prop_assert_eq!(whole, object.get("cut").is_none());
            }
        }
    }
}
