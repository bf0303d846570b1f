//! `/system/` and `/healthz`.

use std::time::Duration;

use dev_gateway::{Config, Credentials, DevGateway, Function, HealthFault, ListingFault};
use reqwest::Response;
use serde_json::{Value, json};

use crate::support::{client, start, start_with};

async fn get(gateway: &DevGateway, path: &str) -> Response {
    client().get(format!("{}{path}", gateway.url())).send().await.unwrap()
}

async fn names(gateway: &DevGateway, path: &str) -> Vec<String> {
    let listed: Vec<Value> = get(gateway, path).await.json().await.unwrap();
    listed.iter().map(|function| function["name"].as_str().unwrap().to_owned()).collect()
}

#[tokio::test]
async fn functions_are_listed_by_namespace_and_empty_members_are_absent() {
    let gateway = start().await;
    gateway.deploy(Function::named("a").topic("orders").label("tier", "1"));
    gateway.deploy(Function::named("b").namespace("dev"));
    let namespaces: Value = get(&gateway, "/system/namespaces").await.json().await.unwrap();
    assert_eq!(namespaces, json!(["openfaas-fn", "dev"]));
    let listed: Value = get(&gateway, "/system/functions").await.json().await.unwrap();
    assert_eq!(listed[0]["annotations"], json!({"topic": "orders"}));
    assert_eq!(listed[0]["labels"], json!({"tier": "1"}));
    assert!(
        listed[0].get("envVars").is_none()
            && listed[0]["createdAt"].as_str().unwrap().ends_with('Z')
    );
    let listed: Value =
        get(&gateway, "/system/functions?namespace=dev").await.json().await.unwrap();
    assert_eq!((&listed[0]["name"], &listed[0]["namespace"]), (&json!("b"), &json!("dev")));
    assert!(listed[0].get("annotations").is_none());
    assert_eq!(gateway.listings(), 2);

    let one: Value = get(&gateway, "/system/function/b?namespace=dev").await.json().await.unwrap();
    assert_eq!(one["name"], "b");
    assert_eq!(get(&gateway, "/system/function/b").await.status(), 404);
    assert!(gateway.remove("a") && !gateway.remove("a"));
    assert_eq!(names(&gateway, "/system/functions").await, [""; 0]);
    let info: Value = get(&gateway, "/system/info").await.json().await.unwrap();
    assert_eq!(info["provider"]["provider"], "dev-gateway");
}

#[tokio::test]
async fn credentials_are_asked_for_on_system_paths_alone_and_can_change() {
    let credentials = Credentials::new("admin", "pass:word");
    let gateway = start_with(Config { credentials: Some(credentials), ..Config::default() }).await;
    gateway.deploy(Function::named("f"));
    let refused = get(&gateway, "/system/functions").await;
    assert_eq!(refused.status(), 401);
    assert_eq!(refused.headers()["www-authenticate"], r#"Basic realm="Restricted""#);
    assert_eq!(refused.headers()["content-type"], "text/plain; charset=utf-8");
    assert_eq!(refused.text().await.unwrap(), "invalid credentials");
    let listing = |password: &'static str| {
        client()
            .get(format!("{}/system/functions", gateway.url()))
            .basic_auth("admin", Some(password))
            .send()
    };
    assert_eq!(listing("pass:word").await.unwrap().status(), 200);
    assert_eq!(listing("wrong").await.unwrap().status(), 401);
    assert_eq!(get(&gateway, "/function/f").await.status(), 200);
    assert_eq!(get(&gateway, "/healthz").await.status(), 200);
    gateway.set_credentials(Some(Credentials::new("admin", "rotated")));
    assert_eq!(listing("pass:word").await.unwrap().status(), 401);
    assert_eq!(listing("rotated").await.unwrap().status(), 200);
    gateway.set_credentials(None);
    assert_eq!(get(&gateway, "/system/functions").await.status(), 200);
}

#[tokio::test]
async fn listings_fail_in_every_scripted_way() {
    let gateway = start().await;
    gateway.deploy(Function::named("f"));
    for (fault, status, body) in [
        (ListingFault::Status(503), 503, "listing failed"),
        (ListingFault::Html, 200, "<!doctype html>"),
        (ListingFault::InvalidJson, 200, "[{\"name\":"),
        (ListingFault::Unauthorized, 401, "invalid credentials"),
        (ListingFault::Empty, 200, "[]"),
        (ListingFault::Null, 200, "null"),
    ] {
        gateway.platform(|platform| platform.listing = Some(fault.clone()));
        let answer = get(&gateway, "/system/functions").await;
        assert_eq!(answer.status(), status, "{fault:?}");
        assert!(answer.text().await.unwrap().starts_with(body), "{fault:?}");
    }
    let listing = || client().get(format!("{}/system/namespaces", gateway.url()));
    gateway.platform(|platform| platform.listing = Some(ListingFault::Close));
    assert!(listing().send().await.is_err());
    gateway.platform(|platform| platform.listing = Some(ListingFault::Hang));
    assert!(listing().timeout(Duration::from_millis(100)).send().await.unwrap_err().is_timeout());
    gateway.platform(|platform| {
        platform.listing = Some(ListingFault::Status(500));
        platform.listing_times = Some(2);
    });
    let mut seen = Vec::new();
    for _ in 0..3 {
        seen.push(get(&gateway, "/system/functions").await.status().as_u16());
    }
    assert_eq!(seen, [500, 500, 200]);
}

#[tokio::test]
async fn namespaces_can_be_double_bad_or_unsupported_and_functions_hidden() {
    let gateway = start().await;
    gateway.deploy(Function::named("f"));
    gateway.platform(|platform| {
        platform.twice.insert("openfaas-fn".to_owned());
        platform.bad_namespaces.insert("broken".to_owned());
        platform.hidden.insert("f".to_owned(), 2);
    });
    let namespaces: Value = get(&gateway, "/system/namespaces").await.json().await.unwrap();
    assert_eq!(namespaces, json!(["openfaas-fn", "broken", "openfaas-fn"]));
    let bad = get(&gateway, "/system/functions?namespace=broken").await;
    assert_eq!(
        (bad.status().as_u16(), bad.text().await.unwrap().as_str()),
        (400, "namespace not valid")
    );
    for listed in [0, 0, 1, 1] {
        assert_eq!(names(&gateway, "/system/functions").await.len(), listed);
    }
    assert_eq!(get(&gateway, "/function/f").await.status(), 200);
    gateway.platform(|platform| platform.namespaces_status = Some(501));
    assert_eq!(get(&gateway, "/system/namespaces").await.status(), 501);
    gateway.heal();
    let namespaces: Value = get(&gateway, "/system/namespaces").await.json().await.unwrap();
    assert_eq!(namespaces, json!(["openfaas-fn"]));
}

#[tokio::test]
async fn the_health_check_fails_as_scripted() {
    let gateway = start().await;
    let healthy = get(&gateway, "/healthz").await;
    assert_eq!((healthy.status().as_u16(), healthy.text().await.unwrap().as_str()), (200, ""));
    gateway.platform(|platform| platform.health = Some(HealthFault::Status(502)));
    assert_eq!(get(&gateway, "/healthz").await.status(), 502);
    let check = || client().get(format!("{}/healthz", gateway.url()));
    gateway.platform(|platform| platform.health = Some(HealthFault::Close));
    assert!(check().send().await.is_err());
    gateway.platform(|platform| platform.health = Some(HealthFault::Hang));
    assert!(check().timeout(Duration::from_millis(100)).send().await.unwrap_err().is_timeout());
    assert_eq!(gateway.health_checks(), 4);
}

#[tokio::test]
async fn listings_can_be_waited_for() {
    let gateway = start().await;
    let (_, listed) =
        tokio::join!(gateway.wait_for_listings(1), get(&gateway, "/system/functions"));
    assert_eq!(listed.status(), 200);
}
