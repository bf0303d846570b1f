use super::*;

fn millis(millis: u64) -> Duration {
    Duration::from_millis(millis)
}

#[tokio::test(start_paused = true)]
async fn calls_are_counted_in_the_step_they_end_in_and_forgotten_after_five_minutes() {
    let calls = Calls::default();
    assert_eq!(calls.show(), CallsShown::default());
    calls.note(true, millis(3));
    calls.note(false, millis(3));
    tokio::time::advance(STEP).await;
    calls.note(true, millis(3));
    calls.note(true, millis(3));
    let shown = calls.show();
    assert_eq!(shown.well.len(), STEPS);
    assert_eq!(shown.well[STEPS - 2..], [1, 2]);
    assert_eq!(shown.failed[STEPS - 2..], [1, 0]);
    tokio::time::advance(STEP * (STEPS as u32 - 1)).await;
    assert_eq!(calls.show().well[0], 2, "the oldest step is still there");
    tokio::time::advance(STEP).await;
    assert_eq!(calls.show().well.iter().sum::<u32>(), 0);
}

#[tokio::test(start_paused = true)]
async fn steps_that_nobody_wrote_are_empty() {
    let calls = Calls::default();
    calls.note(true, millis(1));
    tokio::time::advance(STEP * 3 + millis(10)).await;
    calls.note(true, millis(1));
    tokio::time::advance(STEP - millis(20)).await;
    assert_eq!(calls.show().well[STEPS - 4..], [1, 0, 0, 1], "steps keep their boundaries");
}

#[tokio::test(start_paused = true)]
async fn quantiles_are_right_within_a_bucket_and_follow_what_is_recent() {
    let calls = Calls::default();
    for _ in 0..98 {
        calls.note(true, millis(10));
    }
    calls.note(true, millis(900));
    calls.note(true, millis(900));
    let near = |shown: Option<f64>, exact: f64| {
        let shown = shown.unwrap();
        assert!((exact..exact * 1.2).contains(&shown), "{shown} is not just above {exact}");
    };
    near(calls.show().p50_seconds, 0.010);
    near(calls.show().p99_seconds, 0.900);
    tokio::time::advance(Times::GENERATION).await;
    calls.note(true, millis(40));
    near(calls.show().p50_seconds, 0.010);
    tokio::time::advance(Times::GENERATION).await;
    near(calls.show().p50_seconds, 0.040);
    tokio::time::advance(Times::GENERATION * 2).await;
    assert_eq!(calls.show().p50_seconds, None);
}

#[tokio::test(start_paused = true)]
async fn no_time_and_all_the_time_have_a_bucket() {
    let calls = Calls::default();
    calls.note(true, Duration::ZERO);
    assert_eq!(calls.show().p50_seconds, Some(SHORTEST));
    calls.note(true, Duration::MAX);
    assert!(calls.show().p99_seconds.unwrap() > 300.0);
}

#[tokio::test(start_paused = true)]
async fn topics_beyond_the_bound_are_counted_together_until_one_falls_silent() {
    let traffic = Traffic::new();
    let topic = |n: usize| Arc::<str>::from(format!("t/{n:04}"));
    for n in 0..MOST_TOPICS + 2 {
        traffic.received(&topic(n), Instant::now());
    }
    traffic.received(&"x".repeat(LONGEST_TOPIC + 1).into(), Instant::now());
    let shown = traffic.show();
    assert_eq!(shown.len(), MOST_TOPICS + 1);
    assert_eq!((shown[0].topic.as_deref(), shown[0].received), (Some("t/0000"), 1));
    assert_eq!((&shown[MOST_TOPICS].topic, shown[MOST_TOPICS].received), (&None, 3));

    tokio::time::advance(STEP * STEPS as u32 - millis(1)).await;
    traffic.received(&topic(7), Instant::now());
    tokio::time::advance(STEP).await;
    traffic.received(&topic(9999), Instant::now());
    let shown = traffic.show();
    let names: Vec<_> = shown.iter().map(|shown| shown.topic.as_deref()).collect();
    assert_eq!(names, [Some("t/0007"), Some("t/9999"), None], "the silent ones made place");
    assert_eq!((shown[0].received, shown[0].last_seconds_ago), (2, 5));
}
