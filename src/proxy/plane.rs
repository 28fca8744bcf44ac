//! The data plane: one thread with one runtime for each worker, apart from the control plane's.

use std::io;
use std::net::SocketAddr;
use std::panic::{self, AssertUnwindSafe};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use thiserror::Error;
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};

use super::client_socket::ClientSocket;
use super::fault::{Faults, Restarts};
use super::handle::{Proxy, ProxyHandle, ProxySpec};
use super::limits::Limits;
use super::listen::BoundListener;
use super::table::{ConnectionGuard, lock};
use super::worker::{self, Worker};
use crate::lifecycle::{Pulse, Question};
use crate::model::{ServiceName, TargetName};

/// Beats of the watchdog between two questions to a worker: a wake-up that it would not have else.
const PULSE: u32 = 5;

fn thread_name(index: usize) -> String {
    format!("pmctl-data-{index}")
}

/// How the data plane is set up.
#[derive(Clone)]
pub struct PlaneSettings {
    /// Worker threads, at least one.
    pub workers: usize,
    /// Bounds of every connection.
    pub limits: Limits,
    /// Who hears of proxies that panicked.
    pub faults: Option<Faults>,
    /// Where this process takes orders, if it does. Nothing is forwarded there: whoever reaches a
    /// proxy would pass for somebody on this machine.
    pub control: Option<Control>,
}

/// Where this process takes orders, and who hears of a target that leads there.
#[derive(Clone)]
pub struct Control {
    /// The address.
    pub address: SocketAddr,
    /// Told of each connection that was refused, on the thread of a worker: it must not block.
    pub refused: Refused,
}

/// Hears of a service and its target that leads to the control address.
pub type Refused = Arc<dyn Fn(&ServiceName, &TargetName) + Send + Sync>;

impl std::fmt::Debug for Control {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Control({})", self.address)
    }
}

impl Default for PlaneSettings {
    /// One worker for each core the process may use.
    fn default() -> Self {
        let workers = std::thread::available_parallelism().map_or(1, usize::from);
        Self { workers, limits: Limits::default(), faults: None, control: None }
    }
}

/// Why there is no data plane.
#[derive(Debug, Error)]
pub enum PlaneError {
    /// No runtime.
    #[error("set up the runtime of data-plane worker {worker}")]
    Runtime {
        /// Which, from 0.
        worker: usize,
        /// Why.
        #[source]
        source: std::io::Error,
    },
    /// No thread.
    #[error("start the thread of data-plane worker {worker}")]
    Thread {
        /// Which, from 0.
        worker: usize,
        /// Why.
        #[source]
        source: std::io::Error,
    },
}

/// What a worker is asked to do.
pub(super) enum Job {
    /// Own these listeners.
    Listen(Arc<Proxy>, BoundListener),
    /// Serve a connection that another worker accepted. The socket stands first: it is closed
    /// before its guard is dropped.
    Serve(std::net::TcpStream, ConnectionGuard),
    /// Say that the worker moves.
    Answer(Question),
    /// Close the connections kept for this generation of a target.
    Forget(u64),
    /// End when nothing is left.
    Stop,
    /// Panic.
    #[cfg(feature = "debug-hooks")]
    Panic,
}

/// How a worker is reached from any thread.
#[derive(Debug)]
pub(super) struct WorkerHandle {
    jobs: UnboundedSender<Job>,
    /// Client connections it serves.
    pub(super) load: AtomicUsize,
}

impl std::fmt::Debug for Job {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Listen(..) => "Listen",
            Self::Serve(..) => "Serve",
            Self::Answer(_) => "Answer",
            Self::Forget(_) => "Forget",
            Self::Stop => "Stop",
            #[cfg(feature = "debug-hooks")]
            Self::Panic => "Panic",
        })
    }
}

impl WorkerHandle {
    /// Hands a job over; gives it back to be dropped if the worker has ended.
    pub(super) fn ask(&self, job: Job) -> Result<(), Job> {
        self.jobs.send(job).map_err(|error| error.0)
    }

    pub(super) fn forget(&self, generation: u64) {
        // A worker that has ended keeps no connections.
        let _ = self.ask(Job::Forget(generation));
    }

    /// Hands an accepted connection over.
    pub(super) fn serve(&self, stream: ClientSocket, guard: ConnectionGuard) {
        // A socket that cannot be taken off this runtime is broken, and is closed by that.
        if let Ok(stream) = stream.into_bare() {
            let _ = self.ask(Job::Serve(stream, guard));
        }
    }
}

struct Inner {
    workers: Arc<[WorkerHandle]>,
    limits: Arc<Limits>,
    control: Option<Control>,
    faults: Option<Faults>,
    next_home: AtomicUsize,
    threads: Mutex<Vec<JoinHandle<()>>>,
}

/// The running data plane. Cheap to clone; dropping it stops nothing, see [`Plane::stop`].
#[derive(Clone)]
pub struct Plane(Arc<Inner>);

impl Plane {
    /// Starts the workers.
    ///
    /// # Errors
    /// When a thread or its runtime cannot be made; the workers started before it end again.
    pub fn start(settings: PlaneSettings) -> Result<Self, PlaneError> {
        let count = settings.workers.max(1);
        let limits = Arc::new(settings.limits);
        let channels = (0..count).map(|_| unbounded_channel());
        let (senders, receivers): (Vec<_>, Vec<UnboundedReceiver<Job>>) = channels.unzip();
        let workers: Arc<[WorkerHandle]> = senders
            .into_iter()
            .map(|jobs| WorkerHandle { jobs, load: AtomicUsize::new(0) })
            .collect();
        let plane = Self(Arc::new(Inner {
            workers,
            limits,
            control: settings.control,
            faults: settings.faults,
            next_home: AtomicUsize::new(0),
            threads: Mutex::default(),
        }));
        for (index, jobs) in receivers.into_iter().enumerate() {
            match plane.start_worker(index, jobs) {
                Ok(thread) => lock(&plane.0.threads).push(thread),
                Err(error) => {
                    plane.stop();
                    return Err(error);
                }
            }
        }
        Ok(plane)
    }

    fn start_worker(
        &self,
        index: usize,
        mut jobs: UnboundedReceiver<Job>,
    ) -> Result<JoinHandle<()>, PlaneError> {
        let workers = Arc::clone(&self.0.workers);
        let limits = Arc::clone(&self.0.limits);
        let control = self.0.control.clone();
        // A local runtime cannot move between threads: it is made on its own, which reports back.
        let (told, hear) = std::sync::mpsc::sync_channel(1);
        let thread = std::thread::Builder::new()
            .name(thread_name(index))
            .spawn(move || {
                let mut runtime = worker::runtime();
                let told = told.send(runtime.as_ref().map(drop).map_err(io::Error::kind));
                let mut restarts = Restarts::new(Instant::now());
                while let (Ok(current), Ok(())) = (runtime, &told) {
                    let (workers, limits) = (Arc::clone(&workers), Arc::clone(&limits));
                    let worker = Worker::new(index, workers, limits, control.clone());
                    // A panic takes the runtime with all its tasks along; nothing that it shares is
                    // left half-done that is not whole after any panic.
                    let run = AssertUnwindSafe(|| current.block_on(worker::run(worker, &mut jobs)));
                    if panic::catch_unwind(run).is_ok() {
                        return;
                    }
                    drop(current);
                    std::thread::sleep(restarts.pause(Instant::now()));
                    runtime = worker::runtime();
                }
            })
            .map_err(|source| PlaneError::Thread { worker: index, source })?;
        match hear.recv() {
            Ok(Ok(())) => Ok(thread),
            Ok(Err(kind)) => Err(PlaneError::Runtime { worker: index, source: kind.into() }),
            Err(_) => Err(PlaneError::Runtime {
                worker: index,
                source: std::io::Error::other("the thread ended at once"),
            }),
        }
    }

    /// Serves `spec` on `listener` from now on. Homes are dealt to the workers in turn.
    pub fn spawn(&self, spec: ProxySpec, listener: BoundListener) -> ProxyHandle {
        let workers = Arc::clone(&self.0.workers);
        let home = self.0.next_home.fetch_add(1, Ordering::Relaxed) % workers.len();
        let proxy =
            Arc::new(Proxy::new(spec, Arc::clone(&self.0.limits), workers, self.0.faults.clone()));
        if proxy.workers[home].ask(Job::Listen(Arc::clone(&proxy), listener)).is_err() {
            // The plane was stopped: this proxy ends before it began.
            drop(super::drain::EndGuard(Arc::clone(&proxy)));
        }
        ProxyHandle(proxy)
    }

    /// Each worker thread by its name, to be asked now and then whether it moves.
    pub fn pulses(&self) -> Vec<Pulse> {
        let pulse = |index: usize| {
            let plane = self.clone();
            Pulse::new(thread_name(index), PULSE, move |question| {
                // A worker that has ended is not stuck; it is asked no more, nor is it missed.
                if let Err(Job::Answer(question)) =
                    plane.0.workers[index].ask(Job::Answer(question))
                {
                    question.answer();
                }
            })
        };
        (0..self.0.workers.len()).map(pulse).collect()
    }

    /// Lets each worker thread end once it has no proxy and no connection left. Idempotent; waits
    /// for nothing.
    pub fn stop(&self) {
        for worker in &*self.0.workers {
            let _ = worker.ask(Job::Stop);
        }
    }

    /// Blocks this thread until every worker thread has ended after [`Plane::stop`], at most for
    /// `bound`; whether they have.
    pub fn join(&self, bound: Duration) -> bool {
        let until = Instant::now() + bound;
        loop {
            let mut threads = lock(&self.0.threads);
            threads.retain(|thread| !thread.is_finished());
            if threads.is_empty() {
                return true;
            }
            drop(threads);
            if Instant::now() >= until {
                return false;
            }
            std::thread::sleep(Duration::from_millis(2));
        }
    }
}
