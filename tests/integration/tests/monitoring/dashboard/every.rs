//! The rows about what every connector has.

use super::Form::{Heatmap, Lines, Number, Stacked};
use super::{Good, Panel};

pub(super) const OVERVIEW: &[Panel] = &[
    Panel {
        title: "Ready",
        about: "The least of all instances: 1 when /readyz of each says so.",
        form: Number(Some(Good::One)),
        unit: "short",
        width: 3,
        queries: &[("min(tributary_ready{instance=~\"$instance\"})", "")],
    },
    Panel {
        title: "Brokers reached",
        about: "1 when each instance reaches its broker.",
        form: Number(Some(Good::One)),
        unit: "short",
        width: 3,
        queries: &[("min(tributary_source_connected{instance=~\"$instance\"})", "")],
    },
    Panel {
        title: "Gateway down",
        about: "How many instances find the gateway down. They call nothing meanwhile.",
        form: Number(Some(Good::Zero)),
        unit: "short",
        width: 3,
        queries: &[("sum(tributary_platform_down{instance=~\"$instance\"})", "")],
    },
    Panel {
        title: "Topics held",
        about: "Topics whose events wait because calls of a function cannot succeed.",
        form: Number(Some(Good::Zero)),
        unit: "short",
        width: 3,
        queries: &[("sum(tributary_holds{instance=~\"$instance\"})", "")],
    },
    Panel {
        title: "Events per second",
        about: "Deliveries that were answered well by all their functions.",
        form: Number(None),
        unit: "ops",
        width: 3,
        queries: &[(
            "sum(rate(tributary_events_total{instance=~\"$instance\", outcome=\"delivered\"}[$__rate_interval]))",
            "",
        )],
    },
    Panel {
        title: "Oldest event",
        about: "How long the event that waits longest has been here.",
        form: Number(None),
        unit: "s",
        width: 3,
        queries: &[("max(tributary_oldest_event_seconds{instance=~\"$instance\"})", "")],
    },
    Panel {
        title: "Dead letters",
        about: "In the time shown.",
        form: Number(Some(Good::Zero)),
        unit: "short",
        width: 3,
        queries: &[(
            "sum(increase(tributary_events_total{instance=~\"$instance\", outcome=\"dead_lettered\"}[$__range]))",
            "",
        )],
    },
    Panel {
        title: "Dropped",
        about: "In the time shown: events that are gone, by the policy dead_letter=drop.",
        form: Number(Some(Good::Zero)),
        unit: "short",
        width: 3,
        queries: &[(
            "sum(increase(tributary_events_total{instance=~\"$instance\", outcome=\"dropped\"}[$__range]))",
            "",
        )],
    },
];

pub(super) const EVENTS: &[Panel] = &[
    Panel {
        title: "Deliveries by outcome",
        about: "Each delivery is counted once, by the worst outcome of its functions.",
        form: Stacked,
        unit: "ops",
        width: 8,
        queries: &[(
            "sum by (outcome) (rate(tributary_events_total{instance=~\"$instance\"}[$__rate_interval]))",
            "{{outcome}}",
        )],
    },
    Panel {
        title: "Deliveries received",
        about: "Taken from the broker.",
        form: Lines,
        unit: "ops",
        width: 8,
        queries: &[(
            "sum by (job) (rate(tributary_events_received_total{instance=~\"$instance\"}[$__rate_interval]))",
            "{{job}}",
        )],
    },
    Panel {
        title: "Calls by outcome",
        about: "An event calls each function that asks for it, and each attempt is a call.",
        form: Stacked,
        unit: "ops",
        width: 8,
        queries: &[(
            "sum by (outcome) (rate(tributary_calls_total{instance=~\"$instance\"}[$__rate_interval]))",
            "{{outcome}}",
        )],
    },
];

pub(super) const LATENCY: &[Panel] = &[
    Panel {
        title: "Time of calls",
        about: "Of all functions.",
        form: Lines,
        unit: "s",
        width: 8,
        queries: &[
            (
                "histogram_quantile(0.5, sum by (le) (rate(tributary_call_seconds_bucket{instance=~\"$instance\"}[$__rate_interval])))",
                "half",
            ),
            (
                "histogram_quantile(0.95, sum by (le) (rate(tributary_call_seconds_bucket{instance=~\"$instance\"}[$__rate_interval])))",
                "95%",
            ),
            (
                "histogram_quantile(0.99, sum by (le) (rate(tributary_call_seconds_bucket{instance=~\"$instance\"}[$__rate_interval])))",
                "99%",
            ),
        ],
    },
    Panel {
        title: "99% of calls, the slowest functions",
        about: "All calls but one in a hundred took at most this long.",
        form: Lines,
        unit: "s",
        width: 8,
        queries: &[(
            "topk(10, histogram_quantile(0.99, sum by (le, function) (rate(tributary_call_seconds_bucket{instance=~\"$instance\"}[$__rate_interval]))))",
            "{{function}}",
        )],
    },
    Panel {
        title: "How many calls took how long",
        about: "Per second.",
        form: Heatmap,
        unit: "s",
        width: 8,
        queries: &[(
            "sum by (le) (rate(tributary_call_seconds_bucket{instance=~\"$instance\"}[$__rate_interval]))",
            "{{le}}",
        )],
    },
];

pub(super) const WAITING: &[Panel] = &[
    Panel {
        title: "Oldest event",
        about: "How long the event that waits longest has been here: for its key, a permit, a retry, a hold.",
        form: Lines,
        unit: "s",
        width: 8,
        queries: &[("tributary_oldest_event_seconds{instance=~\"$instance\"}", "{{instance}}")],
    },
    Panel {
        title: "Events here",
        about: "Without a verdict; of these, those that wait for their next attempt, and those that are held.",
        form: Lines,
        unit: "short",
        width: 8,
        queries: &[
            ("sum(tributary_events_in_flight{instance=~\"$instance\"})", "here"),
            ("sum(tributary_function_retrying_events{instance=~\"$instance\"})", "to be retried"),
            ("sum(tributary_held_events{instance=~\"$instance\"})", "held"),
        ],
    },
    Panel {
        title: "Events at the broker",
        about: "What waits there, where the broker tells: Kafka's lag, messages of SQS and of JetStream.",
        form: Lines,
        unit: "short",
        width: 8,
        queries: &[
            ("sum by (topic) (tributary_kafka_lag{instance=~\"$instance\"})", "{{topic}}"),
            (
                "max by (queue) (tributary_sqs_messages{instance=~\"$instance\", state=\"waiting\"})",
                "{{queue}}",
            ),
            (
                "max by (stream, consumer) (tributary_nats_messages{instance=~\"$instance\", state=\"waiting\"})",
                "{{stream}} {{consumer}}",
            ),
        ],
    },
    Panel {
        title: "Age of the oldest against retention",
        about: "At 100% the broker deletes what has waited.",
        form: Lines,
        unit: "percentunit",
        width: 24,
        queries: &[
            (
                "max by (topic) (tributary_kafka_head_age_seconds{instance=~\"$instance\"}) / max by (topic) (tributary_kafka_retention_seconds{instance=~\"$instance\"})",
                "{{topic}}",
            ),
            (
                "max by (queue) (tributary_sqs_head_age_seconds{instance=~\"$instance\"}) / max by (queue) (tributary_sqs_retention_seconds{instance=~\"$instance\"})",
                "{{queue}}",
            ),
            (
                "max by (stream, consumer) (tributary_nats_head_age_seconds{instance=~\"$instance\"}) / max by (stream, consumer) (tributary_nats_retention_seconds{instance=~\"$instance\"})",
                "{{stream}} {{consumer}}",
            ),
        ],
    },
];

pub(super) const LIMITS: &[Panel] = &[
    Panel {
        title: "Running calls against max_inflight",
        about: "At 100% further events wait at their broker.",
        form: Lines,
        unit: "percentunit",
        width: 8,
        queries: &[(
            "tributary_calls_running{instance=~\"$instance\"} / tributary_calls_limit{instance=~\"$instance\"}",
            "{{instance}}",
        )],
    },
    Panel {
        title: "Functions nearest to their limits",
        about: "Running calls against function_concurrency, or the function's own connector.concurrency.",
        form: Lines,
        unit: "percentunit",
        width: 8,
        queries: &[(
            "topk(10, max by (function) (tributary_function_calls_running{instance=~\"$instance\"} / tributary_function_calls_limit{instance=~\"$instance\"}))",
            "{{function}}",
        )],
    },
    Panel {
        title: "Payloads held against buffer_bytes",
        about: "At 100% nothing more is received before something is done.",
        form: Lines,
        unit: "percentunit",
        width: 8,
        queries: &[(
            "tributary_buffer_bytes{instance=~\"$instance\"} / tributary_buffer_limit_bytes{instance=~\"$instance\"}",
            "{{instance}}",
        )],
    },
];

pub(super) const RETRIES: &[Panel] = &[
    Panel {
        title: "Calls to be tried again",
        about: "Failed calls that are followed by another attempt.",
        form: Lines,
        unit: "ops",
        width: 8,
        queries: &[(
            "sum by (function) (rate(tributary_calls_total{instance=~\"$instance\", outcome=\"retry\"}[$__rate_interval]))",
            "{{function}}",
        )],
    },
    Panel {
        title: "Dead letters",
        about: "Stored at their destination, by function and reason.",
        form: Lines,
        unit: "ops",
        width: 8,
        queries: &[(
            "sum by (function, reason) (rate(tributary_dead_letters_total{instance=~\"$instance\"}[$__rate_interval]))",
            "{{function}} {{reason}}",
        )],
    },
    Panel {
        title: "Dropped",
        about: "Gone by policy, by function and reason.",
        form: Lines,
        unit: "ops",
        width: 8,
        queries: &[(
            "sum by (function, reason) (rate(tributary_dropped_total{instance=~\"$instance\"}[$__rate_interval]))",
            "{{function}} {{reason}}",
        )],
    },
];

pub(super) const GATEWAY: &[Panel] = &[
    Panel {
        title: "Age of the map",
        about: "Since the gateway last listed its functions.",
        form: Lines,
        unit: "s",
        width: 8,
        queries: &[(
            "time() - tributary_map_listed_timestamp_seconds{instance=~\"$instance\"}",
            "{{instance}}",
        )],
    },
    Panel {
        title: "Functions mapped, and items not used",
        about: "Items of annotations that cannot be used have their reason on the status page.",
        form: Lines,
        unit: "short",
        width: 8,
        queries: &[
            (
                "sum by (job) (tributary_map_functions{instance=~\"$instance\"})",
                "{{job}} functions",
            ),
            ("sum by (job) (tributary_map_skipped{instance=~\"$instance\"})", "{{job}} not used"),
        ],
    },
    Panel {
        title: "Gateway down, broker away",
        about: "Instances that find the gateway down, or do not reach their broker.",
        form: Lines,
        unit: "short",
        width: 8,
        queries: &[
            ("sum(tributary_platform_down{instance=~\"$instance\"})", "gateway down"),
            ("sum(1 - tributary_source_connected{instance=~\"$instance\"})", "broker away"),
            (
                "sum(increase(tributary_source_restarts_total{instance=~\"$instance\"}[$__rate_interval]))",
                "starts of sources",
            ),
        ],
    },
];

pub(super) const PROCESS: &[Panel] = &[
    Panel {
        title: "Processor",
        about: "Of one core.",
        form: Lines,
        unit: "percentunit",
        width: 8,
        queries: &[(
            "rate(process_cpu_seconds_total{instance=~\"$instance\"}[$__rate_interval])",
            "{{instance}}",
        )],
    },
    Panel {
        title: "Memory",
        about: "Resident.",
        form: Lines,
        unit: "bytes",
        width: 8,
        queries: &[("process_resident_memory_bytes{instance=~\"$instance\"}", "{{instance}}")],
    },
    Panel {
        title: "Versions",
        about: "What runs.",
        form: Lines,
        unit: "short",
        width: 8,
        queries: &[(
            "count by (connector, version) (tributary_build_info{instance=~\"$instance\"})",
            "{{connector}} {{version}}",
        )],
    },
];
