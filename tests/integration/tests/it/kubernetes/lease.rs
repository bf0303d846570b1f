//! The Lease at a real API server: TLS, a token that it has signed, and no right but those of the chart's role.

use charts::helm;
use integration::process::Signal;
use integration::{Cluster, Launch, until};
use serde_json::Value;

use super::account::Account;
use super::replicas::Replicas;

/// How often each thing happens.
const KILLS: usize = 20;
const SUSPENSIONS: usize = 5;

/// What the chart is installed with. The lease is short, so that twenty failovers take a few minutes.
const VALUES: &str = "{replicas: 3, basicAuth: false, lease: {duration: 3s}}";

/// A release of the chart at an API server, whose pods run as processes here.
struct Release {
    cluster: Cluster,
    account: Account,
    launch: Launch,
    tokens: u32,
}

impl Release {
    fn install() -> Self {
        let cluster = Cluster::start();
        let rendered = helm::template("cron", VALUES).unwrap_or_else(|why| panic!("{why}"));
        cluster.kubectl(&["apply", "--filename", "-"], &rendered);
        let manifests = helm::manifests(&rendered);
        let pod = manifests.iter().find(|it| it["kind"] == "Deployment").expect("it runs pods");
        let pod = &pod["spec"]["template"]["spec"];
        assert_eq!(pod["serviceAccountName"], "cron-connector");
        let account = Account::new("", Some(&cluster.authority()));
        let launch = environment(pod)
            .fold(Launch::new("cron"), |launch, (name, value)| launch.set(name, value))
            .set("kubernetes_api", cluster.url())
            .set("kubernetes_account", account.folder());
        let mut release = Self { cluster, account, launch, tokens: 0 };
        release.renew_token();
        release
    }

    /// Gives the pods a token that is good until it is [revoked](Self::revoke_token).
    fn renew_token(&mut self) {
        self.tokens += 1;
        let secret = self.token();
        self.cluster.kubectl(&["create", "secret", "generic", &secret], "");
        let bound = ["--bound-object-kind=Secret", &format!("--bound-object-name={secret}")];
        let token =
            self.cluster.kubectl(&["create", "token", "cron-connector", bound[0], bound[1]], "");
        self.account.renew(&token);
    }

    /// The secret that the present token is bound to, as that of a pod is to its pod.
    fn token(&self) -> String {
        format!("token-{}", self.tokens)
    }

    /// Has the API server refuse a token from now on, but for what it remembers for some seconds.
    fn revoke_token(&self, bound_to: &str) {
        self.cluster.kubectl(&["delete", "secret", bound_to], "");
    }

    fn role_binding(&self) -> String {
        self.cluster.kubectl(&["get", "rolebinding", "cron-connector", "--output", "yaml"], "")
    }
}

/// What the container's environment says in so many words.
fn environment(pod: &Value) -> impl Iterator<Item = (&str, &str)> {
    let variables = pod["containers"][0]["env"].as_array().expect("it has an environment");
    variables.iter().filter_map(|it| Some((it["name"].as_str()?, it["value"].as_str()?)))
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs the API server of Kubernetes: make prove-kubernetes"]
async fn no_tick_is_called_twice_whatever_becomes_of_leaders() {
    let release = Release::install();
    let mut replicas = Replicas::start(release.launch.clone()).await;
    for _ in 0..KILLS {
        replicas.kill_leader().await;
    }
    for _ in 0..SUSPENSIONS {
        replicas.suspend_leader().await;
    }
    let books = replicas.books().await;
    println!("{books:?}, {KILLS} leaders killed, {SUSPENSIONS} suspended beyond their lease");
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs the API server of Kubernetes: make prove-kubernetes"]
async fn no_tick_is_called_twice_whatever_becomes_of_the_api_server() {
    let mut release = Release::install();
    let replicas = Replicas::start(release.launch.clone()).await;
    replicas.ready().await;

    // Its rights are taken away, and given back.
    let binding = release.role_binding();
    release.cluster.kubectl(&["delete", "rolebinding", "cron-connector"], "");
    replicas.not_ready("403").await;
    release.cluster.kubectl(&["create", "--filename", "-"], &binding);
    replicas.ready().await;

    // The token is replaced in time, as the kubelet does it.
    let former = release.token();
    release.renew_token();
    release.revoke_token(&former);
    replicas.ready().await;

    // And too late.
    release.revoke_token(&release.token());
    replicas.not_ready("401").await;
    release.renew_token();
    replicas.ready().await;

    // It hangs: what was asked of it is done later, when nobody waits for the answer any more.
    release.cluster.signal(Signal::Stop);
    replicas.not_ready("does not answer").await;
    release.cluster.signal(Signal::Continue);
    replicas.ready().await;

    // It dies, and comes back with what it had kept.
    release.cluster.signal(Signal::Kill);
    replicas.not_ready("does not answer").await;
    release.cluster.up();
    replicas.ready().await;

    // Somebody removes the Lease.
    release.cluster.kubectl(&["delete", "lease", "cron-connector"], "");
    let look = async || release.cluster.try_kubectl(&["get", "lease", "cron-connector"], "");
    until("a new Lease", look, Result::is_ok).await.expect("waited for");
    replicas.ready().await;

    println!("{:?}", replicas.books().await);
}
