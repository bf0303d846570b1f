//! The gateway as its users hold it: started with a [`Config`], scripted, stopped, started again, dropped.

use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};
use std::time::Duration;

use thiserror::Error;
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::calls::Call;
use crate::faults::{Fault, Faults};
use crate::functions::{Catalog, Function, qualified};
use crate::ledger::{Ledger, PATIENCE, Retention};
use crate::platform::Platform;
use crate::port::HeldPort;
use crate::run::Runner;
use crate::server;
use crate::stack::{StackError, StackFile};

/// What a gateway is started with.
#[derive(Clone)]
pub struct Config {
    /// Where to listen; by default a free port of 127.0.0.1.
    pub listen: SocketAddr,
    /// Credentials for `/system/...`; `None` asks for none.
    pub credentials: Option<Credentials>,
    /// A `stack.yml` whose functions are served; read again whenever it changes.
    pub stack: Option<PathBuf>,
    /// Where the ledger's records are appended; `None` keeps it in memory alone.
    pub ledger: Option<PathBuf>,
    /// Payloads up to this many bytes are written to the ledger's file; 0 by default.
    pub ledger_bodies: usize,
    /// How many calls are remembered in memory, the oldest forgotten first; no bound by default.
    pub remember_calls: usize,
    /// Payloads up to this many bytes are remembered in memory; 64 KiB by default.
    pub remember_bodies: usize,
    /// After this long the gateway gives up on a call, while the function runs on; 60 s by default.
    pub upstream_timeout: Option<Duration>,
    /// Whether `/async-function/...` exists; true by default.
    pub asynchronous: bool,
    /// Told of each call that has ended, with the first line of its reply, before the answer goes out. It keeps the
    /// answer waiting, and must not use the gateway's ledger.
    pub on_call: Option<OnCall>,
}

/// See [`Config::on_call`].
pub type OnCall = Arc<dyn Fn(&Call, &str) + Send + Sync>;

/// A user and a password.
#[derive(Clone, PartialEq)]
pub struct Credentials {
    /// The user.
    pub user: String,
    /// The password.
    pub password: String,
}

/// Why a gateway did not start.
#[derive(Debug, Error)]
pub enum StartError {
    /// The address could not be bound.
    #[error("cannot listen on {address}")]
    Listen {
        /// The address.
        address: SocketAddr,
        /// What the operating system said.
        source: io::Error,
    },
    /// The ledger's file could not be opened.
    #[error("cannot append to the ledger {}", path.display())]
    Ledger {
        /// The file.
        path: PathBuf,
        /// What the operating system said.
        source: io::Error,
    },
    /// The stack file could not be used.
    #[error(transparent)]
    Stack(#[from] StackError),
}

impl Default for Config {
    fn default() -> Self {
        Self {
            listen: SocketAddr::from((Ipv4Addr::LOCALHOST, 0)),
            credentials: None,
            stack: None,
            ledger: None,
            ledger_bodies: 0,
            remember_calls: usize::MAX,
            remember_bodies: 64 * 1024,
            upstream_timeout: Some(Duration::from_secs(60)),
            asynchronous: true,
            on_call: None,
        }
    }
}

impl Credentials {
    /// A user and a password.
    pub fn new(user: &str, password: &str) -> Self {
        Self { user: user.to_owned(), password: password.to_owned() }
    }
}

/// A running gateway. Dropping it closes its listener and its connections.
pub struct DevGateway {
    state: Arc<State>,
}

impl DevGateway {
    /// Starts a gateway on the current tokio runtime.
    ///
    /// # Errors
    ///
    /// When the address, the ledger's file or the stack file cannot be used.
    pub async fn start(config: Config) -> Result<Self, StartError> {
        let retention = Retention {
            file: config.ledger.clone(),
            calls: config.remember_calls,
            bodies: config.remember_bodies,
            file_bodies: config.ledger_bodies,
        };
        let ledger = Ledger::open(&retention, config.on_call).map_err(|source| {
            StartError::Ledger { path: config.ledger.clone().unwrap_or_default(), source }
        })?;
        let mut catalog = Catalog::default();
        let stack = match &config.stack {
            Some(path) => {
                let (file, functions) = StackFile::open(path)?;
                catalog.replace_stack(functions);
                Some(Mutex::new(file))
            }
            None => None,
        };
        let platform = Platform {
            upstream_timeout_ms: config
                .upstream_timeout
                .and_then(|timeout| u64::try_from(timeout.as_millis()).ok()),
            async_off: !config.asynchronous,
            ..Platform::default()
        };
        let port = HeldPort::at(config.listen)
            .map_err(|source| StartError::Listen { address: config.listen, source })?;
        let listener = bind(port.address()).await?;
        let ended = CancellationToken::new();
        let state = Arc::new(State {
            port,
            healthy: platform.clone(),
            catalog: RwLock::new(catalog),
            faults: Faults::default(),
            queue_faults: Faults::default(),
            platform: RwLock::new(platform),
            credentials: RwLock::new(config.credentials),
            stack,
            ledger,
            runner: Runner::new(),
            connections: AtomicU64::new(0),
            listings: watch::Sender::new(0),
            health_checks: watch::Sender::new(0),
            uptime: Mutex::new(Uptime::new(&ended)),
            ended,
        });
        state.serve(listener);
        if state.stack.is_some() {
            tokio::spawn(watch_stack(Arc::clone(&state)));
        }
        Ok(Self { state })
    }

    /// `http://host:port`, without a slash at its end; the same after a restart.
    pub fn url(&self) -> String {
        format!("http://{}", self.state.port.address())
    }

    /// Where it listens; the same after a restart.
    pub fn address(&self) -> SocketAddr {
        self.state.port.address()
    }

    /// Adds a function, or replaces the one of the same name.
    pub fn deploy(&self, function: Function) {
        self.state.catalog_mut().deploy(function);
    }

    /// Removes a function, given as `name` or `name.namespace`; false if there is none. Calls that run go on.
    pub fn remove(&self, function: &str) -> bool {
        self.state.catalog_mut().remove(&qualified(function))
    }

    /// Sets the fault that calls of a function meet, instead of the one set before. The function need not exist yet.
    /// Queued requests are accepted as ever; the fault meets the function's run.
    pub fn fault(&self, function: &str, fault: Fault) {
        self.state.faults.set(function, fault);
    }

    /// Sets the fault that requests to `/async-function/` meet instead of being queued.
    pub fn fault_queueing(&self, function: &str, fault: Fault) {
        self.state.queue_faults.set(function, fault);
    }

    /// Ends the faults of one function. Calls that hang already go on hanging.
    pub fn clear_fault(&self, function: &str) {
        self.state.faults.clear(function);
        self.state.queue_faults.clear(function);
    }

    /// Changes the state of the gateway as a whole: `gateway.platform(|p| p.listing = Some(ListingFault::Html))`.
    pub fn platform(&self, change: impl FnOnce(&mut Platform)) {
        change(&mut self.state.platform_mut());
    }

    /// Ends all faults, of the platform and of every function. Settings from the [`Config`] return to what they were.
    pub fn heal(&self) {
        self.state.heal();
    }

    /// Asks for these credentials from now on, or for none.
    pub fn set_credentials(&self, credentials: Option<Credentials>) {
        self.state.set_credentials(credentials);
    }

    /// The ledger of every call.
    pub fn ledger(&self) -> &Ledger {
        &self.state.ledger
    }

    /// How many times functions have been listed, failed listings included.
    pub fn listings(&self) -> u64 {
        *self.state.listings.borrow()
    }

    /// Returns once functions have been listed this many more times. Cancel safe.
    ///
    /// # Panics
    ///
    /// After [`PATIENCE`].
    pub async fn wait_for_listings(&self, more: u64) {
        wait_for_more(&self.state.listings, more, "listings").await;
    }

    /// How many times `/healthz` has been asked for.
    pub fn health_checks(&self) -> u64 {
        *self.state.health_checks.borrow()
    }

    /// Returns once `/healthz` has been asked for this many more times. Cancel safe.
    ///
    /// # Panics
    ///
    /// After [`PATIENCE`].
    pub async fn wait_for_health_checks(&self, more: u64) {
        wait_for_more(&self.state.health_checks, more, "health checks").await;
    }

    /// How many connections are open.
    pub fn connections(&self) -> usize {
        self.state.uptime().tracker.len().saturating_sub(1)
    }

    /// Closes the listener and every connection, and returns when they are closed. Functions that callers waited for
    /// are cut. Does nothing if the gateway is stopped already.
    pub async fn stop(&self) {
        self.state.stop().await;
    }

    /// Listens again on the same port, stopping first if it runs. Functions, faults and ledger are as they were.
    ///
    /// # Errors
    ///
    /// When the port cannot be listened on any more.
    pub async fn restart(&self) -> Result<(), StartError> {
        self.state.restart().await
    }
}

impl Drop for DevGateway {
    fn drop(&mut self) {
        self.state.ended.cancel();
    }
}

/// What the routes share.
pub(crate) struct State {
    /// Held, so that it is free for a restart.
    port: HeldPort,
    /// The platform as configured, which [`State::heal`] restores.
    healthy: Platform,
    catalog: RwLock<Catalog>,
    pub(crate) faults: Faults,
    pub(crate) queue_faults: Faults,
    platform: RwLock<Platform>,
    credentials: RwLock<Option<Credentials>>,
    stack: Option<Mutex<StackFile>>,
    pub(crate) ledger: Ledger,
    pub(crate) runner: Runner,
    connections: AtomicU64,
    pub(crate) listings: watch::Sender<u64>,
    pub(crate) health_checks: watch::Sender<u64>,
    uptime: Mutex<Uptime>,
    /// Cancelled when the gateway is dropped: also ends what outlives a stop.
    pub(crate) ended: CancellationToken,
}

/// The time from one start to the next stop.
#[derive(Clone)]
struct Uptime {
    stop: CancellationToken,
    /// The accepting task and one task for each connection.
    tracker: TaskTracker,
}

impl Uptime {
    fn new(ended: &CancellationToken) -> Self {
        Self { stop: ended.child_token(), tracker: TaskTracker::new() }
    }
}

impl State {
    pub(crate) fn catalog(&self) -> RwLockReadGuard<'_, Catalog> {
        self.catalog.read().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn catalog_mut(&self) -> RwLockWriteGuard<'_, Catalog> {
        self.catalog.write().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn platform(&self) -> RwLockReadGuard<'_, Platform> {
        self.platform.read().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn platform_mut(&self) -> RwLockWriteGuard<'_, Platform> {
        self.platform.write().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn set_credentials(&self, credentials: Option<Credentials>) {
        *self.credentials.write().unwrap_or_else(PoisonError::into_inner) = credentials;
    }

    /// Whether these, from an `Authorization` header, are the credentials asked for.
    pub(crate) fn admits(&self, given: Option<&Credentials>) -> bool {
        match &*self.credentials.read().unwrap_or_else(PoisonError::into_inner) {
            Some(wanted) => given == Some(wanted),
            None => true,
        }
    }

    pub(crate) fn heal(&self) {
        self.faults.clear_all();
        self.queue_faults.clear_all();
        *self.platform_mut() = self.healthy.clone();
    }

    /// Takes over the stack file if it has changed. A file that cannot be used is reported once, and leaves the
    /// functions as they are.
    pub(crate) fn refresh_stack(&self) {
        let Some(stack) = &self.stack else { return };
        match stack.lock().unwrap_or_else(PoisonError::into_inner).read_if_changed() {
            Ok(Some(functions)) => self.catalog_mut().replace_stack(functions),
            Ok(None) => {}
            Err(error) => tracing::warn!(
                error = &error as &dyn std::error::Error,
                "the stack file cannot be used as it is now; its functions stay as they were"
            ),
        }
    }

    pub(crate) fn next_connection(&self) -> u64 {
        self.connections.fetch_add(1, Ordering::Relaxed)
    }

    pub(crate) async fn stop(&self) {
        let uptime = self.uptime();
        uptime.stop.cancel();
        uptime.tracker.close();
        uptime.tracker.wait().await;
    }

    pub(crate) async fn restart(self: &Arc<Self>) -> Result<(), StartError> {
        self.stop().await;
        let listener = bind(self.port.address()).await?;
        *self.uptime.lock().unwrap_or_else(PoisonError::into_inner) = Uptime::new(&self.ended);
        self.serve(listener);
        Ok(())
    }

    fn serve(self: &Arc<Self>, listener: TcpListener) {
        let Uptime { stop, tracker } = self.uptime();
        let accepting = server::accept(Arc::clone(self), listener, stop, tracker.clone());
        tracker.spawn(accepting);
    }

    fn uptime(&self) -> Uptime {
        self.uptime.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

async fn bind(address: SocketAddr) -> Result<TcpListener, StartError> {
    TcpListener::bind(address).await.map_err(|source| StartError::Listen { address, source })
}

/// Functions that are called without having been listed anew also follow the file within a second.
async fn watch_stack(state: Arc<State>) {
    while !state.ended.is_cancelled() {
        state.refresh_stack();
        tokio::select! {
            () = state.ended.cancelled() => {}
            () = tokio::time::sleep(Duration::from_secs(1)) => {}
        }
    }
}

async fn wait_for_more(counter: &watch::Sender<u64>, more: u64, what: &str) {
    let mut counter = counter.subscribe();
    let wanted = *counter.borrow() + more;
    if tokio::time::timeout(PATIENCE, counter.wait_for(|count| *count >= wanted)).await.is_err() {
        panic!("waited {PATIENCE:?} for {more} more {what}");
    }
}
