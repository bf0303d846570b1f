//! Whether the platform, the gateway with its provider, is down: proven, not guessed.
//!
//! A refused connection or an empty 502 only raises the question, since the gateway answers a
//! function that is slower than its own timeout in exactly the same way. `GET /healthz`, which the
//! gateway passes to its provider, answers it: no answer within two seconds or a 5xx means down,
//! anything else up (invariant 13). While it is down nothing is called and no attempt counts.

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use futures_util::future::BoxFuture;
use reqwest::{Client, Url};
use tokio::sync::{mpsc, oneshot, watch};

use crate::conditions::{Conditions, Subject};
use crate::invoke::innermost;

/// How long the gateway may take to answer the health question.
pub const HEALTH_TIMEOUT: Duration = Duration::from_secs(2);

const FIRST_WAIT: Duration = Duration::from_millis(250);
const LONGEST_WAIT: Duration = Duration::from_secs(5);

/// Asks the gateway once whether it is healthy.
pub type Probe = Arc<dyn Fn() -> BoxFuture<'static, Result<(), String>> + Send + Sync>;

/// The question as it is asked of a real gateway: any answer below 500 says that it is up.
#[must_use]
pub fn probe(client: Client, gateway: &Url) -> Probe {
    let mut url = gateway.clone();
    url.set_path(&format!("{}/healthz", url.path().trim_end_matches('/')));
    Arc::new(move || {
        let request = client.get(url.clone());
        Box::pin(async move {
            match request.send().await {
                Ok(answer) if answer.status().is_server_error() => {
                    Err(format!("/healthz answered {}", answer.status().as_u16()))
                }
                Ok(_) => Ok(()),
                Err(error) => Err(innermost(&error)),
            }
        })
    })
}

/// The judged state of the platform. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Platform {
    ask: mpsc::UnboundedSender<oneshot::Sender<bool>>,
    up: watch::Receiver<bool>,
}

impl Platform {
    /// A platform that is believed up until a question is asked, and the task that answers
    /// questions; run it for as long as the process lives.
    #[must_use = "questions are answered only while the task runs"]
    pub fn new(probe: Probe, conditions: Conditions) -> (Self, impl Future<Output = ()> + Send) {
        // Unbounded holds at most one question for each running call.
        let (ask, questions) = mpsc::unbounded_channel();
        let (tell, up) = watch::channel(true);
        (Self { ask, up }, answer(questions, probe, conditions, tell))
    }

    /// Asks whether the platform is up, by a probe that begins after this call does.
    ///
    /// Cancel-safe.
    pub async fn is_up_now(&self) -> bool {
        let (tell, hear) = oneshot::channel();
        if self.ask.send(tell).is_err() {
            return true;
        }
        hear.await.unwrap_or(true)
    }

    /// Whether it is believed up; does not ask.
    #[must_use]
    pub fn is_up(&self) -> bool {
        *self.up.borrow()
    }

    /// Whether it is believed up, live.
    #[must_use]
    pub fn watch(&self) -> watch::Receiver<bool> {
        self.up.clone()
    }

    /// Resolves when it is believed up.
    ///
    /// Cancel-safe.
    pub async fn up(&self) {
        let mut up = self.up.clone();
        // The sender lives in the answering task; when that ends, so does the process.
        drop(up.wait_for(|up| *up).await);
    }
}

/// Answers questions, one probe at a time. A question asked while a probe runs gets the next one.
async fn answer(
    mut questions: mpsc::UnboundedReceiver<oneshot::Sender<bool>>,
    probe: Probe,
    conditions: Conditions,
    up: watch::Sender<bool>,
) {
    let subject = Subject("platform".into());
    let mut asked = Vec::new();
    while questions.recv_many(&mut asked, usize::MAX).await > 0 {
        let mut wait = FIRST_WAIT;
        loop {
            let health = ask_once(&probe).await;
            let is_up = health.is_ok();
            if let Err(why) = &health {
                conditions.unwell(&subject, &format!("the gateway is down: {why}"), true);
            }
            up.send_if_modified(|was| std::mem::replace(was, is_up) != is_up);
            for question in asked.drain(..) {
                // Whoever asked may have been released meanwhile.
                question.send(is_up).ok();
            }
            if is_up {
                conditions.well(&subject);
                break;
            }
            tokio::time::sleep(wait).await;
            wait = (wait * 2).min(LONGEST_WAIT);
            // Down was told to everyone; those who asked since wait for `up` anyway.
            while let Ok(question) = questions.try_recv() {
                asked.push(question);
            }
        }
    }
}

async fn ask_once(probe: &Probe) -> Result<(), String> {
    match tokio::time::timeout(HEALTH_TIMEOUT, probe()).await {
        Ok(health) => health,
        Err(_) => Err(format!("/healthz did not answer within {HEALTH_TIMEOUT:?}")),
    }
}
