//! Work that belongs to an actor: it begins and ends with the actor, and the actor ends with it.

use actix::{Actor, ActorContext as _, ActorFutureExt as _, AsyncContext as _, Context, fut};

/// Aborted when it is dropped.
#[derive(Debug)]
pub(super) struct Work(tokio::task::AbortHandle);

impl Work {
    /// Begins work that ends by a panic only. Then the actor stops, and the watchdog starts another.
    pub(super) fn begin<A: Actor<Context = Context<A>>>(
        context: &mut Context<A>,
        work: impl Future<Output = ()> + Send + 'static,
    ) -> Self {
        let work = tokio::spawn(work);
        let handle = work.abort_handle();
        context
            .spawn(fut::wrap_future(work).map(|_ended, _: &mut A, context: &mut Context<A>| context.stop()));
        Self(handle)
    }
}

impl Drop for Work {
    fn drop(&mut self) {
        self.0.abort();
    }
}
