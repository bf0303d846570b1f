use super::*;
use crate::log::capture::captured;

const BROKER: Subject = Subject::new("broker");
const GATEWAY: Subject = Subject::new("gateway");

fn seconds(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

#[tokio::test(start_paused = true)]
async fn one_line_for_each_change_however_often_it_is_said() {
    let (log, _guard) = captured();
    let conditions = Conditions::new();
    conditions.well(&BROKER);
    assert_eq!(log.take(), [""; 0], "nothing changed");
    for _ in 0..100 {
        conditions.unwell(&BROKER, "refused", true);
    }
    tokio::time::advance(seconds(125)).await;
    for _ in 0..100 {
        conditions.well(&BROKER);
    }
    assert_eq!(
        log.take(),
        [
            " WARN not well subject=broker why=refused",
            " INFO well again subject=broker lasted=2m5s"
        ]
    );
}

#[tokio::test(start_paused = true)]
async fn a_new_reason_is_news_once_a_minute() {
    let (log, _guard) = captured();
    let conditions = Conditions::new();
    for second in 0..180 {
        conditions.unwell(&BROKER, &format!("reason {second}"), true);
        tokio::time::advance(seconds(1)).await;
    }
    assert_eq!(
        log.take(),
        [0, 60, 120].map(|at| format!(" WARN not well subject=broker why=\"reason {at}\""))
    );
    assert_eq!(conditions.snapshot()[0].lasted, seconds(180), "it is one outage");
    assert_eq!(
        conditions.state(&BROKER),
        Some(State::Unwell { why: "reason 179".to_owned(), blocks_ready: true })
    );
}

#[tokio::test(start_paused = true)]
async fn what_the_process_is_ready_in_spite_of_is_not_repeated_for_ever() {
    let (log, _guard) = captured();
    let conditions = Conditions::new();
    let _summaries = tokio::spawn(conditions.clone().summarise(seconds(60)));
    conditions.unwell(&BROKER, "one bad schedule", false);
    log.take();
    tokio::time::sleep(seconds(86_400)).await;
    assert_eq!(log.take().len(), 9, "for ten minutes, not for a day");
    conditions.unwell(&GATEWAY, "refused", true);
    log.take();
    tokio::time::sleep(seconds(61)).await;
    assert!(log.take()[0].contains("one bad schedule"), "told along with other trouble");
}

#[tokio::test(start_paused = true)]
async fn one_summary_a_minute_while_anything_is_not_well() {
    let (log, _guard) = captured();
    let conditions = Conditions::new();
    let summaries = tokio::spawn(conditions.clone().summarise(seconds(60)));
    tokio::time::sleep(seconds(3600)).await;
    assert_eq!(log.take(), [""; 0], "all is well");

    conditions.unwell(&BROKER, "refused", true);
    conditions.expect(&GATEWAY);
    log.take();
    tokio::time::sleep(seconds(150)).await;
    assert_eq!(
        log.take(),
        [
            " WARN still not well: broker (refused, 1m0s); gateway (not yet, 1m0s) subjects=2",
            " WARN still not well: broker (refused, 2m0s); gateway (not yet, 2m0s) subjects=2",
        ]
    );

    conditions.well(&BROKER);
    conditions.forget(&GATEWAY);
    log.take();
    tokio::time::sleep(seconds(3600)).await;
    assert_eq!(log.take(), [""; 0], "all is well again");
    summaries.abort();
}

#[tokio::test(start_paused = true)]
async fn ready_means_that_nothing_is_awaited_and_nothing_blocks() {
    let conditions = Conditions::new();
    assert_eq!(conditions.ready(), Ok(()));
    conditions.expect(&BROKER);
    assert_eq!(conditions.ready(), Err(vec![(BROKER, "not yet".to_owned())]));
    conditions.unwell(&BROKER, "refused", false);
    assert_eq!(conditions.ready(), Err(vec![(BROKER, "refused".to_owned())]), "awaited still");
    conditions.well(&BROKER);
    assert_eq!(conditions.ready(), Ok(()));
    conditions.unwell(&BROKER, "slow", false);
    assert_eq!(conditions.ready(), Ok(()), "this does not block");
    conditions.unwell(&BROKER, "refused", true);
    conditions.expect(&BROKER);
    assert_eq!(conditions.ready(), Err(vec![(BROKER, "refused".to_owned())]));
    conditions.forget(&BROKER);
    assert_eq!(conditions.ready(), Ok(()));
}

#[tokio::test(start_paused = true)]
async fn whoever_waits_sees_the_change() {
    let conditions = Conditions::new();
    conditions.expect(&BROKER);
    let waiting = tokio::spawn({
        let conditions = conditions.clone();
        async move { conditions.until(|conditions| conditions.ready().is_ok()).await }
    });
    tokio::task::yield_now().await;
    assert!(!waiting.is_finished());
    conditions.well(&BROKER);
    waiting.await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn what_is_left_aside_is_shown_and_told_to_nobody() {
    let subject = Subject::new("topic orders");
    let (log, _guard) = captured();
    let conditions = Conditions::new();
    tokio::spawn(conditions.clone().summarise(seconds(60)));
    conditions.aside(&subject, "there is no such topic");
    tokio::time::sleep(seconds(200)).await;
    assert_eq!(conditions.ready(), Ok(()));
    let why = "there is no such topic".to_owned();
    assert_eq!(conditions.state(&subject), Some(State::Aside { why }));
    conditions.well(&subject);
    assert_eq!(conditions.state(&subject), Some(State::Well));
    assert_eq!(log.text(), "");
}
