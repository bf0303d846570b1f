//! The rows about one kind of broker each, and about cron.

use super::Form::{Lines, Stacked};
use super::Panel;

pub(super) const KAFKA: &[Panel] = &[
    Panel {
        title: "Offsets not committed",
        about: "Between what is committed and the log's end: what a crash now would leave to be looked at again.",
        form: Lines,
        unit: "short",
        width: 8,
        queries: &[(
            "sum by (topic) (tributary_kafka_commit_gap{instance=~\"$instance\"})",
            "{{topic}}",
        )],
    },
    Panel {
        title: "Partitions that receive nothing",
        about: "held: no function is mapped. full: the window or the payloads' bytes. beyond: too much is finished behind a stuck head. uncommitted: the broker takes no commits.",
        form: Lines,
        unit: "short",
        width: 8,
        queries: &[(
            "sum by (cause) (tributary_kafka_paused_lanes{instance=~\"$instance\"})",
            "{{cause}}",
        )],
    },
    Panel {
        title: "The group",
        about: "Assignments and revocations, refused commits, records not called again, and partitions that lost records.",
        form: Lines,
        unit: "ops",
        width: 8,
        queries: &[
            (
                "sum(rate(tributary_kafka_rebalances_total{instance=~\"$instance\"}[$__rate_interval]))",
                "rebalances",
            ),
            (
                "sum(rate(tributary_kafka_commit_failures_total{instance=~\"$instance\"}[$__rate_interval]))",
                "commits failed",
            ),
            (
                "sum(rate(tributary_kafka_finished_before_total{instance=~\"$instance\"}[$__rate_interval]))",
                "finished before",
            ),
            (
                "sum(rate(tributary_kafka_out_of_range_total{instance=~\"$instance\"}[$__rate_interval]))",
                "out of range",
            ),
        ],
    },
    Panel {
        title: "Slowest broker",
        about: "The 99th percentile of its answers.",
        form: Lines,
        unit: "s",
        width: 8,
        queries: &[(
            "tributary_kafka_client_round_trip_seconds{instance=~\"$instance\"}",
            "{{instance}}",
        )],
    },
    Panel {
        title: "Brokers",
        about: "Up, or tried in vain.",
        form: Lines,
        unit: "short",
        width: 8,
        queries: &[(
            "sum by (state) (tributary_kafka_client_brokers{instance=~\"$instance\"})",
            "{{state}}",
        )],
    },
    Panel {
        title: "Fetched and not received",
        about: "What the client has read ahead.",
        form: Lines,
        unit: "bytes",
        width: 8,
        queries: &[(
            "tributary_kafka_client_fetched_bytes{instance=~\"$instance\"}",
            "{{instance}}",
        )],
    },
];

pub(super) const SQS: &[Panel] = &[
    Panel {
        title: "Messages of the queues",
        about: "As the queues tell, once a minute.",
        form: Lines,
        unit: "short",
        width: 8,
        queries: &[(
            "max by (queue, state) (tributary_sqs_messages{instance=~\"$instance\"})",
            "{{queue}} {{state}}",
        )],
    },
    Panel {
        title: "Requests",
        about: "Receives that were answered, and leases that were extended.",
        form: Lines,
        unit: "ops",
        width: 8,
        queries: &[
            (
                "sum by (queue) (rate(tributary_sqs_receives_total{instance=~\"$instance\"}[$__rate_interval]))",
                "{{queue}} receives",
            ),
            (
                "sum by (queue) (rate(tributary_sqs_extensions_total{instance=~\"$instance\"}[$__rate_interval]))",
                "{{queue}} extensions",
            ),
        ],
    },
    Panel {
        title: "What makes messages come again",
        about: "Leases lost before the verdict, deletes that failed, receipts that had become void.",
        form: Lines,
        unit: "ops",
        width: 8,
        queries: &[
            (
                "sum by (queue) (rate(tributary_sqs_leases_lost_total{instance=~\"$instance\"}[$__rate_interval]))",
                "{{queue}} leases lost",
            ),
            (
                "sum by (queue) (rate(tributary_sqs_deletes_failed_total{instance=~\"$instance\"}[$__rate_interval]))",
                "{{queue}} deletes failed",
            ),
            (
                "sum by (queue) (rate(tributary_sqs_stale_handles_total{instance=~\"$instance\"}[$__rate_interval]))",
                "{{queue}} void receipts",
            ),
        ],
    },
];

pub(super) const NATS: &[Panel] = &[
    Panel {
        title: "Messages of the consumers",
        about: "As the server tells, once a minute.",
        form: Lines,
        unit: "short",
        width: 8,
        queries: &[(
            "max by (stream, consumer, state) (tributary_nats_messages{instance=~\"$instance\"})",
            "{{stream}} {{consumer}} {{state}}",
        )],
    },
    Panel {
        title: "Core NATS: messages lost",
        about: "Core NATS keeps nothing: what finds no room is gone.",
        form: Lines,
        unit: "ops",
        width: 8,
        queries: &[(
            "sum by (why) (rate(tributary_nats_lost_total{instance=~\"$instance\"}[$__rate_interval]))",
            "{{why}}",
        )],
    },
    Panel {
        title: "JetStream: out of the ordinary",
        about: "Acknowledgements sent again, and messages fetched from the stream because the server had given up on them or they break the connection.",
        form: Lines,
        unit: "ops",
        width: 8,
        queries: &[
            (
                "sum(rate(tributary_nats_settle_retries_total{instance=~\"$instance\"}[$__rate_interval]))",
                "acknowledged again",
            ),
            (
                "sum(rate(tributary_nats_recovered_total{instance=~\"$instance\"}[$__rate_interval]))",
                "given up by the server",
            ),
            (
                "sum(rate(tributary_nats_unreadable_total{instance=~\"$instance\"}[$__rate_interval]))",
                "unreadable",
            ),
        ],
    },
];

pub(super) const MQTT: &[Panel] = &[
    Panel {
        title: "Sessions, and filters refused",
        about: "One session for each filter that is served.",
        form: Lines,
        unit: "short",
        width: 8,
        queries: &[
            ("sum by (job) (tributary_mqtt_sessions{instance=~\"$instance\"})", "{{job}} sessions"),
            (
                "sum by (job) (tributary_mqtt_refused_filters{instance=~\"$instance\"})",
                "{{job}} refused",
            ),
        ],
    },
    Panel {
        title: "QoS 0: messages lost",
        about: "What finds no room, or waits when its session ends, is gone.",
        form: Lines,
        unit: "ops",
        width: 8,
        queries: &[(
            "sum by (reason) (rate(tributary_mqtt_lost_total{instance=~\"$instance\"}[$__rate_interval]))",
            "{{reason}}",
        )],
    },
    Panel {
        title: "Replies, and dead letters that came back",
        about: "Answers published to response topics; letters of our own that a wildcard brought back.",
        form: Lines,
        unit: "ops",
        width: 8,
        queries: &[
            (
                "sum(rate(tributary_mqtt_replies_total{instance=~\"$instance\"}[$__rate_interval]))",
                "replies",
            ),
            (
                "sum(rate(tributary_mqtt_own_letters_total{instance=~\"$instance\"}[$__rate_interval]))",
                "own letters",
            ),
        ],
    },
];

pub(super) const CRON: &[Panel] = &[
    Panel {
        title: "Ticks",
        about: "By what became of them.",
        form: Stacked,
        unit: "ops",
        width: 8,
        queries: &[(
            "sum by (outcome) (rate(tributary_cron_ticks_total{instance=~\"$instance\"}[$__rate_interval]))",
            "{{outcome}}",
        )],
    },
    Panel {
        title: "Lateness",
        about: "99% of ticks were handed over within this time of their instant.",
        form: Lines,
        unit: "s",
        width: 8,
        queries: &[(
            "histogram_quantile(0.99, sum by (le) (rate(tributary_cron_tick_lateness_seconds_bucket{instance=~\"$instance\"}[$__rate_interval])))",
            "99%",
        )],
    },
    Panel {
        title: "Schedules, and who calls",
        about: "Schedules in force and refused. With a lease, one replica calls.",
        form: Lines,
        unit: "short",
        width: 8,
        queries: &[
            ("max(tributary_cron_schedules{instance=~\"$instance\"})", "in force"),
            ("max(tributary_cron_bad_schedules{instance=~\"$instance\"})", "refused"),
            (
                "sum(tributary_cron_leader{instance=~\"$instance\"} + (1 - tributary_cron_lease{instance=~\"$instance\"}))",
                "replicas that call",
            ),
            (
                "sum(increase(tributary_cron_takeovers_total{instance=~\"$instance\"}[$__rate_interval]))",
                "takeovers",
            ),
        ],
    },
];
