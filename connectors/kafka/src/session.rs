//! One connection, from its first question to the broker to leaving the group.
//!
//! Everything that must happen one after the other happens in one loop: answering the group, and
//! changing the subscription. Beside it run the task that polls the client (it serves every
//! callback, so it never stops before the client is closed), those that keep the login and look up
//! the topics' retention, the committer, and the lanes.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use connector_core::Intake;
use connector_core::conditions::Subject;
use connector_core::source::SourceError;
use connector_core::supervisor::broker;
use rdkafka::consumer::Consumer as _;
use rdkafka::error::KafkaError;
use rdkafka::types::RDKafkaErrorCode;
use tokio::sync::{Notify, mpsc};
use tokio::task::JoinHandle;
use tokio::time::{Instant, timeout};

use crate::assignment::Assignment;
use crate::client::{Consumer, Listener, Rebalance, Trouble};
use crate::commit::{self, Commits};
use crate::config::{Files, KafkaConfig};
use crate::lane::Stuck;
use crate::login::{self, Proof};
use crate::meters::Meters;
use crate::orphans::Orphans;
use crate::retention;
use crate::subscription::{self, Listing, News, Subscription};

/// How long the client may take to leave the group and close.
const CLOSE: Duration = Duration::from_secs(3);
/// How long the group may take to ask back what it gave, when we leave.
const LAST_REVOKE: Duration = Duration::from_secs(2);

const GROUP: Subject = Subject::new("consumer group");

/// One connection.
pub(crate) struct Session {
    config: Arc<KafkaConfig>,
    intake: Intake,
    client: Client,
    /// Notified when the broker refuses what proves who we are.
    refused: Arc<Notify>,
    files: Files,
    rebalances: mpsc::UnboundedReceiver<Rebalance>,
    commits: Commits,
    stuck: mpsc::UnboundedReceiver<Stuck>,
    tell_stuck: mpsc::UnboundedSender<Stuck>,
    meters: Arc<Meters>,
    /// Since when the broker has not answered.
    silent_since: Option<Instant>,
}

/// The client, and the tasks that go on as long as it does.
struct Client {
    consumer: Option<Arc<Consumer>>,
    tasks: Vec<JoinHandle<()>>,
}

impl Session {
    /// Reaches the broker and proves the credentials.
    pub(crate) async fn connect(
        config: Arc<KafkaConfig>,
        intake: Intake,
    ) -> Result<Self, SourceError> {
        let meters = Meters::of(intake.metrics());
        let files = config
            .read_files()
            .await
            .map_err(|panic| SourceError::Broken(format!("reading files failed: {panic}")))?;
        let proof = Proof::obtain(&config).await?;

        let (tell_rebalance, rebalances) = mpsc::unbounded_channel();
        let (tell_commit, answers) = mpsc::unbounded_channel();
        let (tell_stuck, stuck) = mpsc::unbounded_channel();
        let listener = Listener::new(tell_rebalance, tell_commit, Arc::clone(&meters));
        let consumer: Arc<Consumer> = config
            .consumer(&proof)
            .create_with_context(listener)
            .map(Arc::new)
            // A certificate that cannot be read, mostly: mended in its file.
            .map_err(|error| SourceError::Refused(error.to_string()))?;
        let mut client = Client { consumer: Some(Arc::clone(&consumer)), tasks: Vec::new() };
        client.run(poll(
            Arc::clone(&consumer),
            Arc::clone(&config),
            intake.clone(),
            tell_stuck.clone(),
        ));
        proof.give(consumer.client().native_ptr()).map_err(SourceError::Refused)?;
        let refused = Arc::<Notify>::default();
        client.run(keep_login(&config, &intake, &consumer, proof, &refused));

        let asking = Arc::clone(&consumer);
        // One name is asked for, not all: proving the connection must not cost a large cluster.
        let name = intake.config().topics.iter().find(|topic| !topic.starts_with('^'));
        let names = name.map(|name| vec![Arc::from(name.as_str())]);
        let asked = tokio::task::spawn_blocking(move || subscription::list(&asking, names));
        if let Err(error) = answered_or_refused(asked, consumer.context()).await {
            return Err(match consumer.context().trouble() {
                Some(trouble) if trouble.is_refusal() => SourceError::Refused(trouble.to_string()),
                Some(trouble) => SourceError::Unreachable(trouble.to_string()),
                None => SourceError::Unreachable(error),
            });
        }
        consumer.context().answered();

        let kept = Arc::clone(&consumer);
        let (commits, committing) = commit::start(
            consumer,
            intake.conditions().clone(),
            Arc::clone(&meters),
            answers,
            config.commit_interval,
        );
        client.tasks.push(committing);
        client.tasks.push(retention::watch(kept, Arc::clone(&meters)));
        Ok(Self {
            config,
            intake,
            client,
            refused,
            files,
            rebalances,
            commits,
            stuck,
            tell_stuck,
            meters,
            silent_since: None,
        })
    }

    /// Consumes until draining begins or the connection is of no more use; then commits what is
    /// done and leaves the group.
    pub(crate) async fn run(mut self) -> Result<(), SourceError> {
        let Some(consumer) = self.client.consumer.clone() else {
            return Err(SourceError::Broken("the client is closed".to_owned()));
        };
        let mut assignment = Assignment::new(
            Arc::clone(&consumer),
            Arc::clone(&self.config),
            self.intake.clone(),
            self.commits.clone(),
            Arc::clone(&self.meters),
            self.tell_stuck.clone(),
        );
        let ended = {
            let mut subscription = Subscription::new(Arc::clone(&consumer), self.intake.clone());
            self.consume(&consumer, &mut assignment, &mut subscription).await
        };
        match &ended {
            Ok(()) => self.drain(&mut assignment).await,
            Err(_) => assignment.end_all(self.config.revoke_wait).await,
        }
        self.leave(consumer, assignment).await;
        ended
    }

    /// Consumes; `Ok` once draining has begun.
    async fn consume(
        &mut self,
        consumer: &Arc<Consumer>,
        assignment: &mut Assignment<Consumer>,
        subscription: &mut Subscription,
    ) -> Result<(), SourceError> {
        let intake = self.intake.clone();
        let draining = intake.draining();
        tokio::pin!(draining);
        let mut orphans = Orphans::new(Arc::clone(consumer), &self.config.group);
        loop {
            tokio::select! {
                biased;
                () = &mut draining => return Ok(()),
                Some(Stuck(why)) = self.stuck.recv() => return Err(SourceError::Broken(why)),
                Some(rebalance) = self.rebalances.recv() => {
                    assignment.answer(rebalance).await?;
                    intake.conditions().well(&GROUP);
                    // Where the broker shares out, it leaves nothing out.
                    if !self.config.group_protocol.is_consumer() {
                        orphans.assigned();
                    }
                }
                ungiven = orphans.found() => {
                    let topics = ungiven.into_iter().collect::<Vec<_>>().join(",");
                    tracing::warn!(topics, "the group gives these topics to nobody: joining it again");
                    // Without this, a subscription that is the same would change nothing.
                    consumer.unsubscribe();
                    subscribe(consumer, subscription.current())?;
                }
                news = subscription.next() => match news {
                    News::Unreachable(error) => self.unreachable(consumer, &error.to_string())?,
                    News::Refused(trouble) => self.unreachable(consumer, &trouble.to_string())?,
                    News::Same => self.reachable(consumer),
                    News::Changed(topics) => {
                        self.reachable(consumer);
                        // Before the group hears of it: what a new subscription drops may come
                        // back as lost, and nothing could be committed for it then.
                        assignment.end_topics(|topic| !topics.contains(topic)).await;
                        let names: Vec<_> = topics.iter().map(String::as_str).collect();
                        tracing::info!(topics = names.join(","), "binding to topics");
                        subscribe(consumer, &topics)?;
                        orphans.subscribed(&topics);
                        subscription.subscribed(topics);
                    }
                },
            }
        }
    }

    fn reachable(&mut self, consumer: &Consumer) {
        self.silent_since = None;
        consumer.context().answered();
        self.intake.conditions().well(&broker());
    }

    /// The client reconnects by itself and cannot be told not to. What it cannot do by itself is
    /// to read changed files, and to find a broker once it has let go of all of them: it does when
    /// a broker that has only just come back lists none, not even itself.
    fn unreachable(&mut self, consumer: &Consumer, error: &str) -> Result<(), SourceError> {
        let trouble = consumer.context().trouble();
        let silent_since = *self.silent_since.get_or_insert_with(Instant::now);
        let why = trouble.as_ref().map_or_else(|| error.to_owned(), ToString::to_string);
        self.intake.conditions().unwell(&broker(), &why, true);
        match trouble {
            Some(Trouble::Authentication(_)) => self.refused.notify_one(),
            Some(Trouble::Tls(_)) if self.config.files() != self.files => {
                return Err(SourceError::Refused(format!("{why}; the certificates have changed")));
            }
            // Another client costs nothing by then: the group has given away what was ours.
            None | Some(Trouble::Unreachable(_))
                if silent_since.elapsed() > self.config.session_timeout =>
            {
                return Err(SourceError::Unreachable(why));
            }
            _ => {}
        }
        Ok(())
    }

    /// Lets running calls end. The group may still ask for partitions meanwhile.
    async fn drain(&mut self, assignment: &mut Assignment<Consumer>) {
        loop {
            tokio::select! {
                biased;
                () = assignment.drained() => break,
                Some(rebalance) = self.rebalances.recv() => {
                    if let Err(error) = assignment.answer(rebalance).await {
                        tracing::warn!(%error, "a rebalance while draining");
                    }
                }
            }
        }
        assignment.end_all(Duration::ZERO).await;
    }

    /// Leaves the group and closes the client.
    async fn leave(mut self, consumer: Arc<Consumer>, mut assignment: Assignment<Consumer>) {
        // A static member stays in the group while it is away; unsubscribing would be leaving.
        if !self.config.is_static() {
            consumer.unsubscribe();
            self.give_back(&mut assignment).await;
        }
        // From here on the callback answers by itself.
        drop(self.rebalances);
        drop(assignment);
        drop(consumer);
        if timeout(CLOSE, self.client.close()).await.is_err() {
            tracing::warn!("the broker's client does not close; leaving it behind");
        }
    }

    /// Answers the group, which asks for everything back from who unsubscribes.
    async fn give_back(&mut self, assignment: &mut Assignment<Consumer>) {
        let last = async {
            while assignment.holds() {
                let Some(rebalance) = self.rebalances.recv().await else { return };
                if let Err(error) = assignment.answer(rebalance).await {
                    tracing::debug!(%error, "the last rebalance");
                    return;
                }
            }
        };
        if timeout(LAST_REVOKE, last).await.is_err() {
            tracing::debug!("the group did not ask its partitions back in time");
        }
    }
}

impl Client {
    /// Runs this as long as the client lives.
    fn run(&mut self, task: impl Future<Output = ()> + Send + 'static) {
        self.tasks.push(tokio::spawn(task));
    }

    async fn close(mut self) {
        for task in self.tasks.drain(..) {
            task.abort();
            // Aborted: it ends with that.
            drop(task.await);
        }
        let consumer = self.consumer.take();
        drop(tokio::task::spawn_blocking(move || drop(consumer)).await);
    }
}

impl Drop for Client {
    fn drop(&mut self) {
        for task in &self.tasks {
            task.abort();
        }
        // Closing blocks, and must not block the tasks beside it.
        if let Some(consumer) = self.consumer.take()
            && let Ok(runtime) = tokio::runtime::Handle::try_current()
        {
            drop(runtime.spawn_blocking(move || drop(consumer)));
        }
    }
}

/// Keeps what proves who the consumer is.
fn keep_login(
    config: &Arc<KafkaConfig>,
    intake: &Intake,
    consumer: &Arc<Consumer>,
    proof: Proof,
    refused: &Arc<Notify>,
) -> impl Future<Output = ()> + Send + use<> {
    let consumer = Arc::clone(consumer);
    let give = move |proof: &Proof| proof.give(consumer.client().native_ptr());
    login::keep(Arc::clone(config), intake.conditions().clone(), proof, Arc::clone(refused), give)
}

/// Asks the group for these topics, and for no others.
fn subscribe(consumer: &Consumer, topics: &BTreeSet<String>) -> Result<(), SourceError> {
    if topics.is_empty() {
        consumer.unsubscribe();
        return Ok(());
    }
    let names: Vec<_> = topics.iter().map(String::as_str).collect();
    consumer.subscribe(&names).map_err(|error| SourceError::Broken(error.to_string()))
}

/// Waits for the answer to a first question. A refusal is told by a complaint, long before the
/// question itself is given up.
async fn answered_or_refused(
    mut asked: JoinHandle<Result<Listing, KafkaError>>,
    listener: &Listener,
) -> Result<(), String> {
    tokio::select! {
        biased;
        answer = &mut asked => match answer {
            Ok(Ok(_)) => Ok(()),
            Ok(Err(error)) => Err(error.to_string()),
            Err(panic) => Err(panic.to_string()),
        },
        trouble = listener.refusal() => Err(trouble.to_string()),
    }
}

/// Polls the client for ever: that serves its callbacks, and tells the group that we live.
async fn poll(
    consumer: Arc<Consumer>,
    config: Arc<KafkaConfig>,
    intake: Intake,
    stuck: mpsc::UnboundedSender<Stuck>,
) {
    loop {
        let why = match consumer.recv().await {
            // Every partition has a queue of its own; a record here could not be settled.
            Ok(_) => "a record came outside of its partition's queue".to_owned(),
            Err(KafkaError::MessageConsumptionFatal(code)) => {
                // The error itself only says that there is one.
                match consumer.client().fatal_error().map_or(code, |(code, _)| code) {
                    RDKafkaErrorCode::UnsupportedVersion | RDKafkaErrorCode::UnsupportedFeature
                        if config.group_protocol.is_consumer() =>
                    {
                        config.group_protocol.refuse();
                        "the broker does not speak the group protocol consumer; \
                         going on with classic"
                            .to_owned()
                    }
                    code => code.to_string(),
                }
            }
            Err(KafkaError::MessageConsumption(
                code @ RDKafkaErrorCode::GroupAuthorizationFailed,
            )) => {
                intake.conditions().unwell(&GROUP, &code.to_string(), true);
                continue;
            }
            // Told to the listener as well, which knows what to make of it.
            Err(error) => {
                tracing::trace!(%error, "the client reports");
                continue;
            }
        };
        drop(stuck.send(Stuck(why)));
    }
}
