//! The dashboard as the file that Grafana imports.
//!
//! Every option is written out, those too that Grafana would fill in, so that the file is whole by
//! the types that Grafana publishes for it (`@grafana/schema`).

use serde_json::{Value, json};

use super::Form::{Heatmap, Lines, Number, Stacked};
use super::{Good, Panel, ROWS};

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
        "query": { "query": query, "refId": name },
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
            Number(_) => ("stat", json!({}), number()),
            Lines => ("timeseries", json!({ "fillOpacity": 0, "showPoints": "never" }), lines()),
            Stacked => (
                "timeseries",
                json!({ "fillOpacity": 30, "showPoints": "never", "stacking": { "mode": "normal" } }),
                lines(),
            ),
            Heatmap => ("heatmap", json!({}), heatmap(self.unit)),
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

fn number() -> Value {
    json!({
        "reduceOptions": { "calcs": ["lastNotNull"], "fields": "", "values": false },
        "colorMode": "value", "graphMode": "area", "justifyMode": "auto", "orientation": "auto",
        "textMode": "auto", "wideLayout": true, "showPercentChange": false,
        "percentChangeColorMode": "standard",
    })
}

fn lines() -> Value {
    json!({
        "legend": {
            "displayMode": "list", "placement": "bottom", "showLegend": true, "calcs": [],
        },
        "tooltip": { "mode": "multi", "sort": "desc" },
    })
}

fn heatmap(unit: &str) -> Value {
    json!({
        // The buckets are Prometheus' own.
        "calculate": false, "cellGap": 1, "cellValues": { "unit": "ops" },
        "yAxis": { "axisPlacement": "left", "unit": unit },
        "color": {
            "mode": "scheme", "scheme": "Oranges", "fill": "dark-orange", "scale": "exponential",
            "exponent": 0.5, "steps": 64, "reverse": false,
        },
        "exemplars": { "color": "rgba(255,0,255,0.7)" }, "filterValues": { "le": 1e-9 },
        "legend": { "show": true }, "rowsFrame": { "layout": "auto" }, "showValue": "never",
        "tooltip": { "mode": "single", "yHistogram": false },
    })
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
