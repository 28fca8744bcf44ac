//! One worker: a thread, its runtime, and what the connections on it share.
//!
//! Everything of a connection happens on one thread, so nothing here is `Send`, and nothing waits
//! for a lock that another worker holds for longer than a table entry takes.

use std::cell::Cell;
use std::io;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use tokio::runtime::{Builder, LocalOptions, LocalRuntime};
use tokio::sync::Notify;
use tokio::sync::mpsc::UnboundedReceiver;
use tokio::task::spawn_local;

use super::client_socket::ClientSocket;
use super::drain::EndGuard;
use super::limits::Limits;
use super::plane::{Control, Job, WorkerHandle};
use super::pool::Pool;
use super::{accept, engine, timer};

/// What the tasks of one worker share.
pub(super) struct Worker {
    pub(super) index: usize,
    pub(super) handles: Arc<[WorkerHandle]>,
    pub(super) limits: Arc<Limits>,
    pub(super) pool: Pool,
    /// Refused connections that are being told so.
    pub(super) refusing: Cell<usize>,
    /// Proxies at home here.
    hosted: Cell<usize>,
    /// Told when something ended, for a worker that is to stop.
    ended: Notify,
}

/// Counts a proxy as hosted while it lives.
struct Hosting(Rc<Worker>);

impl Drop for Hosting {
    fn drop(&mut self) {
        self.0.hosted.set(self.0.hosted.get() - 1);
        self.0.ended.notify_one();
    }
}

impl Worker {
    pub(super) fn new(
        index: usize,
        handles: Arc<[WorkerHandle]>,
        limits: Arc<Limits>,
        control: Option<Control>,
    ) -> Self {
        Self {
            index,
            handles,
            pool: Pool::new(Arc::clone(&limits), control),
            limits,
            refusing: Cell::new(0),
            hosted: Cell::new(0),
            ended: Notify::new(),
        }
    }

    pub(super) fn load(&self) -> usize {
        self.handles[self.index].load.load(Ordering::Relaxed)
    }

    fn is_empty(&self) -> bool {
        self.hosted.get() == 0 && self.load() == 0
    }

    /// One of this worker's connections is gone.
    pub(super) fn connection_ended(&self) {
        self.ended.notify_one();
    }
}

/// The runtime of a worker.
pub(super) fn runtime() -> io::Result<LocalRuntime> {
    Builder::new_current_thread().enable_all().build_local(LocalOptions::default())
}

/// Does jobs until it is told to stop and nothing is left.
pub(super) async fn run(worker: Worker, jobs: &mut UnboundedReceiver<Job>) {
    let worker = Rc::new(worker);
    spawn_local(sweep(Rc::clone(&worker)));
    let mut stopping = false;
    while !(stopping && worker.is_empty() && jobs.is_empty()) {
        let job = tokio::select! {
            job = jobs.recv() => job,
            () = worker.ended.notified(), if stopping => continue,
        };
        match job {
            Some(Job::Listen(proxy, listener)) => {
                worker.hosted.set(worker.hosted.get() + 1);
                let hosting = Hosting(Rc::clone(&worker));
                let worker = Rc::clone(&worker);
                spawn_local(async move {
                    accept::host(&worker, proxy, listener).await;
                    drop(hosting);
                });
            }
            Some(Job::Serve(stream, guard)) => {
                let stream = ClientSocket::bare(stream);
                spawn_local(engine::serve(Rc::clone(&worker), stream, guard));
            }
            Some(Job::Answer(question)) => question.answer(),
            Some(Job::Forget(generation)) => worker.pool.forget(generation),
            Some(Job::Stop) | None => stopping = true,
            #[cfg(feature = "debug-hooks")]
            Some(Job::Panic) => panic!("a worker panics, as it was asked to"),
        }
    }
    jobs.close();
    // A proxy that was handed over in the last moment ends before it began.
    while let Ok(job) = jobs.try_recv() {
        if let Job::Listen(proxy, listener) = job {
            drop(listener);
            drop(EndGuard(proxy));
        }
    }
    worker.pool.clear();
}

/// Looks at deadlines and pooled connections every beat, and sleeps while there are none.
async fn sweep(worker: Rc<Worker>) {
    let kick = timer::kick();
    loop {
        while timer::is_idle() && worker.pool.is_empty() {
            kick.notified().await;
        }
        tokio::time::sleep(timer::BEAT).await;
        timer::sweep(timer::now_ms());
        worker.pool.sweep();
    }
}
