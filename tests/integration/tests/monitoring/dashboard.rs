//! The dashboard: what it shows, and how that becomes the file that Grafana imports.
//!
//! It is written as a table here, since the file says the same in forty times the words.
//! A panel takes its instances from the variable `instance`, which follows the one that people
//! choose, `connector`.

use serde_json::{Value, json};

/// A row of panels. One that is not open is about one kind of broker.
pub(crate) struct Row {
    pub(crate) title: &'static str,
    pub(crate) open: bool,
    pub(crate) panels: &'static [Panel],
}

/// One panel, and the queries it is drawn from, each with its legend.
pub(crate) struct Panel {
    pub(crate) title: &'static str,
    /// What it means, for whoever points at it.
    pub(crate) about: &'static str,
    pub(crate) form: Form,
    pub(crate) unit: &'static str,
    /// Of the 24 columns.
    pub(crate) width: u64,
    pub(crate) queries: &'static [(&'static str, &'static str)],
}

/// How a panel looks.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Form {
    /// One number; green at this value and red beyond it, where there is one.
    Number(Option<Good>),
    Lines,
    Stacked,
    Heatmap,
}

/// What is good for a number.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Good {
    One,
    Zero,
}

use Form::{Heatmap, Lines, Number, Stacked};

const OVERVIEW: &[Panel] = &[
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

const EVENTS: &[Panel] = &[
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

const LATENCY: &[Panel] = &[
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

const WAITING: &[Panel] = &[
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

const LIMITS: &[Panel] = &[
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

const RETRIES: &[Panel] = &[
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

const GATEWAY: &[Panel] = &[
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

const KAFKA: &[Panel] = &[
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
        about: "held: no function is mapped. full: the window or the payloads' bytes. beyond: too much is finished behind a stuck head.",
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

const SQS: &[Panel] = &[
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

const NATS: &[Panel] = &[
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

const MQTT: &[Panel] = &[
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

const CRON: &[Panel] = &[
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
            ("sum(tributary_cron_leader{instance=~\"$instance\"})", "replicas that call"),
            (
                "sum(increase(tributary_cron_takeovers_total{instance=~\"$instance\"}[$__rate_interval]))",
                "takeovers",
            ),
        ],
    },
];

const PROCESS: &[Panel] = &[
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

/// Everything on the dashboard, from the top.
pub(crate) const ROWS: &[Row] = &[
    Row { title: "Overview", open: true, panels: OVERVIEW },
    Row { title: "Events and calls", open: true, panels: EVENTS },
    Row { title: "Latency", open: true, panels: LATENCY },
    Row { title: "What waits", open: true, panels: WAITING },
    Row { title: "Limits", open: true, panels: LIMITS },
    Row { title: "Retries and dead letters", open: true, panels: RETRIES },
    Row { title: "Gateway, map, broker", open: true, panels: GATEWAY },
    Row { title: "Kafka", open: false, panels: KAFKA },
    Row { title: "SQS", open: false, panels: SQS },
    Row { title: "NATS", open: false, panels: NATS },
    Row { title: "MQTT", open: false, panels: MQTT },
    Row { title: "Cron", open: false, panels: CRON },
    Row { title: "Process", open: true, panels: PROCESS },
];

/// The datasource that people choose.
fn datasource() -> Value {
    json!({ "type": "prometheus", "uid": "${datasource}" })
}

/// The dashboard as Grafana imports it.
pub(crate) fn document() -> Value {
    let (mut panels, mut y, mut id) = (Vec::new(), 0, 0);
    let mut next = || {
        id += 1;
        id
    };
    for row in ROWS {
        let mut head = json!({
            "id": next(), "type": "row", "title": row.title, "collapsed": !row.open,
            "gridPos": { "x": 0, "y": y, "w": 24, "h": 1 }, "panels": [],
        });
        y += 1;
        let (mut x, mut within, mut height) = (0, Vec::new(), 0);
        for panel in row.panels {
            if x + panel.width > 24 {
                (x, y) = (0, y + height);
            }
            height = if matches!(panel.form, Number(_)) { 4 } else { 8 };
            let place = json!({ "x": x, "y": y, "w": panel.width, "h": height });
            within.push(panel.document(next(), place));
            x += panel.width;
        }
        y += height;
        if row.open {
            panels.push(head);
            panels.append(&mut within);
        } else {
            // Grafana keeps the panels of a row that is closed within it.
            head["panels"] = within.into();
            panels.push(head);
        }
    }
    json!({
        "uid": "tributary", "title": "Tributary", "tags": ["openfaas", "tributary"],
        "schemaVersion": 39, "version": 1, "editable": true, "graphTooltip": 1,
        "refresh": "30s", "time": { "from": "now-1h", "to": "now" }, "timezone": "",
        "annotations": { "list": [] }, "links": [],
        "templating": { "list": [
            { "name": "datasource", "label": "Prometheus", "type": "datasource", "query": "prometheus" },
            variable("connector", "Connector", "label_values(tributary_build_info, connector)", false),
            variable("instance", "Instance", "label_values(tributary_build_info{connector=~\"$connector\"}, instance)", true),
        ] },
        "panels": panels,
    })
}

fn variable(name: &str, label: &str, query: &str, hidden: bool) -> Value {
    json!({
        "name": name, "label": label, "type": "query", "datasource": datasource(),
        "query": { "query": query, "refId": name }, "definition": query,
        // Looked up anew when the time shown changes: instances come and go.
        "refresh": 2, "sort": 1, "multi": true, "includeAll": true,
        "current": { "selected": true, "text": ["All"], "value": ["$__all"] },
        "hide": if hidden { 2 } else { 0 },
    })
}

impl Panel {
    fn document(&self, id: u64, place: Value) -> Value {
        let targets = ('A'..).zip(self.queries).map(|(name, (query, legend))| {
            let mut target = json!({
                "refId": name.to_string(), "datasource": datasource(), "expr": query,
                "legendFormat": legend,
            });
            if self.form == Heatmap {
                target["format"] = "heatmap".into();
            }
            target
        });
        let (kind, custom, options) = match self.form {
            Number(_) => (
                "stat",
                json!({}),
                json!({ "reduceOptions": { "calcs": ["lastNotNull"] }, "colorMode": "value", "graphMode": "area" }),
            ),
            Lines => ("timeseries", json!({ "fillOpacity": 0, "showPoints": "never" }), legend()),
            Stacked => (
                "timeseries",
                json!({ "fillOpacity": 30, "showPoints": "never", "stacking": { "mode": "normal" } }),
                legend(),
            ),
            Heatmap => (
                "heatmap",
                json!({}),
                json!({ "calculate": false, "yAxis": { "unit": self.unit }, "cellValues": { "unit": "ops" } }),
            ),
        };
        let mut defaults = json!({ "unit": self.unit, "min": 0, "custom": custom });
        if let Number(Some(good)) = self.form {
            let (below, from_one) = match good {
                Good::One => ("red", "green"),
                Good::Zero => ("green", "red"),
            };
            // What an increase is extrapolated to need not be whole.
            let first = if good == Good::One { 1.0 } else { 0.001 };
            defaults["thresholds"] = json!({ "mode": "absolute", "steps": [
                { "color": below, "value": null }, { "color": from_one, "value": first },
            ] });
        }
        json!({
            "id": id, "type": kind, "title": self.title, "description": self.about,
            "gridPos": place, "datasource": datasource(), "targets": targets.collect::<Vec<_>>(),
            "fieldConfig": { "defaults": defaults, "overrides": [] }, "options": options,
        })
    }
}

fn legend() -> Value {
    json!({
        "legend": { "displayMode": "list", "placement": "bottom", "showLegend": true },
        "tooltip": { "mode": "multi", "sort": "desc" },
    })
}

/// A query as Grafana would send it, for all connectors and these last seconds.
pub(crate) fn sent(query: &str) -> String {
    query.replace("$__rate_interval", "10s").replace("$__range", "10m").replace("$instance", ".*")
}

#[test]
fn golden_dashboard() {
    let text = serde_json::to_string_pretty(&document()).expect("it is JSON");
    golden::golden("deploy/monitoring/dashboard.json", &(text + "\n"));
}

/// By what Grafana's documentation says of a dashboard's JSON model.
#[test]
fn no_panel_covers_another_and_each_is_whole() {
    let document = document();
    let panels = document["panels"].as_array().expect("a list").iter();
    let mut taken = std::collections::HashMap::new();
    let mut ids = std::collections::HashSet::new();
    for panel in panels.flat_map(|it| {
        let within = it["panels"].as_array().into_iter().flatten();
        std::iter::once(it).chain(within)
    }) {
        assert!(ids.insert(panel["id"].as_u64().expect("a number")), "{panel}");
        let of = |side: &str| panel["gridPos"][side].as_u64().expect("a number");
        assert!(of("x") + of("w") <= 24, "{panel}");
        for (x, y) in (of("x")..of("x") + of("w"))
            .flat_map(|x| (of("y")..of("y") + of("h")).map(move |y| (x, y)))
        {
            let before = taken.insert((x, y), panel["title"].clone());
            assert_eq!(before, None, "{} covers it", panel["title"]);
        }
        if panel["type"] == "row" {
            continue;
        }
        assert_eq!(panel["datasource"]["uid"], "${datasource}", "{panel}");
        assert!(!panel["description"].as_str().expect("text").is_empty(), "{panel}");
        for target in panel["targets"].as_array().expect("a list") {
            assert!(target["expr"].as_str().expect("text").contains("$instance"), "{target}");
        }
    }
}
