//! Taking a right away, for good, before saying so.

use super::memory::Memory;
use crate::domain::Forget;

/// For whoever commits a revocation. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Revoker {
    memories: [Memory; 2],
}

impl Revoker {
    /// For a process with these memories.
    pub fn new(memories: [Memory; 2]) -> Self {
        Self { memories }
    }

    /// Forgets it in this process, at once. Other processes learn of it from the database, within 250 ms.
    pub fn forget(&self, what: Forget) {
        for memory in &self.memories {
            memory.forget(what);
        }
    }

    /// To be awaited between the commit of a revocation and its answer. After it, no process on this database
    /// accepts what was revoked.
    #[expect(clippy::unused_async, reason = "waits for other processes once they remember anything")]
    pub async fn revoked(&self, what: Forget) {
        self.forget(what);
    }
}
