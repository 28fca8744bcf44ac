//! Changes that go on to their end even if whoever asked for them hangs up.
//!
//! Inside a live server a change that has begun is the server's from then on: half a change, such as
//! a drain whose row is never written, would be nobody's.

use std::pin::pin;

use futures_util::FutureExt;
use tokio::sync::{mpsc, oneshot};

use super::context::Ops;
use super::faults::stopped_fault;
use crate::model::Fault;

impl Ops {
    /// Inside a live server the work is the server's from here on; without one it is the caller's.
    pub(super) async fn to_its_end<T, W>(&self, work: W) -> Result<T, Fault>
    where
        T: Send + 'static,
        W: Future<Output = Result<T, Fault>> + Send + 'static,
    {
        let Some(live) = self.live() else { return work.await };
        let (answer, answered) = oneshot::channel();
        live.carry_out(
            async move {
                // Whoever asked may be gone; the work is done all the same.
                answer.send(work.await).ok();
            }
            .boxed(),
        );
        answered.await.unwrap_or_else(|_| Err(stopped_fault()))
    }

    /// Likewise for work that tells how far it is: `hear` learns all of it before the answer is
    /// given, as long as the caller is there.
    pub(super) async fn to_its_end_heard<T, P, W>(
        &self,
        hear: &(dyn Fn(P) + Send + Sync),
        work: impl FnOnce(mpsc::UnboundedSender<P>) -> W,
    ) -> Result<T, Fault>
    where
        T: Send + 'static,
        P: Send + 'static,
        W: Future<Output = Result<T, Fault>> + Send + 'static,
    {
        let (tell, mut told) = mpsc::unbounded_channel();
        let mut end = pin!(self.to_its_end(work(tell)));
        loop {
            tokio::select! {
                biased;
                Some(progress) = told.recv() => hear(progress),
                answer = &mut end => {
                    while let Ok(progress) = told.try_recv() {
                        hear(progress);
                    }
                    return answer;
                }
            }
        }
    }
}
