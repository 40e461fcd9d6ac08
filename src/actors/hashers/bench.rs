//! One hashing thread's work bench: Argon2id (RFC 9106) in memory that is used again.
//!
//! `Argon2::hash_password()` allocates 19 MiB for each hash, which costs a third of the throughput in page faults and
//! leaves three times as much with the allocator. So the memory is kept while there is work and given back after.

use argon2::{
    ARGON2ID_IDENT, Algorithm, Argon2, Block, Params, PasswordHash as Phc, Version,
    password_hash::phc::{Output, ParamsString, Salt},
};

use crate::domain::{Error, PasswordHash, Result};

/// What one hash costs.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Cost {
    /// Memory, in KiB.
    pub memory_kib: u32,
    /// Passes over it.
    pub iterations: u32,
    /// Lanes; they are computed one after the other.
    pub parallelism: u32,
}

/// Stored hashes that would cost more than this are refused: a row must not be able to take the memory of the
/// process. Configuration allows no more either.
const MOST: Cost = Cost { memory_kib: 65_536, iterations: 10, parallelism: 4 };
/// Bytes of output in new hashes.
const OUTPUT_BYTES: usize = 32;
/// Bytes of random salt in new hashes (RFC 9106 3.1).
const SALT_BYTES: usize = 16;

/// glibc hands out requests above 32 MiB as mappings of their own and unmaps them when they are freed; smaller ones, after
/// the first, stay with the allocator. Memory that is reserved and not touched costs nothing. Measured with
/// two threads, four bursts of 40 hashes and a rest after each: 9.8 MiB resident at rest, 126 MiB without this.
const RESERVED_BLOCKS: usize = 33 * 1024;

/// What a check found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// Not the password.
    Wrong,
    /// The password.
    Right {
        /// The hash was made at another cost than is configured now.
        needs_rehash: bool,
    },
}

impl Verdict {
    /// It is the password.
    pub fn is_right(self) -> bool {
        matches!(self, Self::Right { .. })
    }
}

/// A stored hash that was read and is affordable.
struct Stored {
    cost: Cost,
    params: Params,
    salt: Salt,
    output: Output,
}

/// Where one thread hashes.
pub(super) struct Bench {
    cost: Cost,
    blocks: Vec<Block>,
}

impl Bench {
    /// Without memory yet.
    pub(super) fn new(cost: Cost) -> Self {
        Self { cost, blocks: Vec::new() }
    }

    /// Holds memory.
    pub(super) fn is_warm(&self) -> bool {
        self.blocks.capacity() > 0
    }

    /// Gives the memory back.
    pub(super) fn release(&mut self) {
        self.blocks = Vec::new();
    }

    /// Hashes with a fresh salt at the configured cost.
    pub(super) fn hash(&mut self, password: &str) -> Result<PasswordHash> {
        let salt: [u8; SALT_BYTES] = rand::random();
        let params = params(self.cost, OUTPUT_BYTES)?;
        let hash = Phc {
            algorithm: ARGON2ID_IDENT,
            version: Some(Version::V0x13.into()),
            params: ParamsString::try_from(&params).map_err(Error::internal)?,
            salt: Some(Salt::new(&salt).map_err(Error::internal)?),
            hash: Some(self.run(params, password, &salt)?),
        };
        Ok(PasswordHash::new(hash.to_string()))
    }

    /// Checks a password against a stored hash, at the cost that is written in it.
    ///
    /// `None` if the hash is none that this program can have made; nothing was computed then.
    pub(super) fn verify(&mut self, password: &str, stored: &PasswordHash) -> Result<Option<Verdict>> {
        let Some(stored) = read(stored) else { return Ok(None) };
        let output = self.run(stored.params, password, &stored.salt)?;
        // Compares in constant time.
        let same = output == stored.output;
        let needs_rehash = stored.cost != self.cost || stored.output.len() != OUTPUT_BYTES;
        Ok(Some(if same { Verdict::Right { needs_rehash } } else { Verdict::Wrong }))
    }

    fn run(&mut self, params: Params, password: &str, salt: &[u8]) -> Result<Output> {
        let needed = params.block_count();
        if self.blocks.capacity() < needed {
            self.blocks = Vec::with_capacity(needed.max(RESERVED_BLOCKS));
        }
        if self.blocks.len() < needed {
            self.blocks.resize(needed, Block::new());
        }
        let length = params.output_len().unwrap_or(OUTPUT_BYTES);
        let argon2 = Argon2::new(Algorithm::Argon2id, Version::V0x13, params);
        let mut buffer = [0; Output::MAX_LENGTH];
        let output = buffer.get_mut(..length).ok_or_else(|| Error::internal("too long an output"))?;
        argon2
            .hash_password_into_with_memory(password.as_bytes(), salt, output, &mut self.blocks)
            .map_err(Error::internal)?;
        if needed > self.cost.memory_kib as usize {
            self.release();
        }
        Output::new(output).map_err(Error::internal)
    }
}

fn params(cost: Cost, output_bytes: usize) -> Result<Params> {
    Params::new(cost.memory_kib, cost.iterations, cost.parallelism, Some(output_bytes))
        .map_err(Error::internal)
}

/// Only `$argon2id$v=19$m=…,t=…,p=…$salt$hash` within [`MOST`].
fn read(stored: &PasswordHash) -> Option<Stored> {
    let hash = Phc::new(stored.expose()).ok()?;
    if hash.algorithm != ARGON2ID_IDENT || hash.version != Some(Version::V0x13.into()) {
        return None;
    }
    let parameter = |name: &str| hash.params.get_decimal(name);
    let cost =
        Cost { memory_kib: parameter("m")?, iterations: parameter("t")?, parallelism: parameter("p")? };
    let affordable = cost.memory_kib <= MOST.memory_kib
        && cost.iterations <= MOST.iterations
        && cost.parallelism <= MOST.parallelism;
    if !affordable || hash.params.iter().count() != 3 {
        return None;
    }
    let output = hash.hash?;
    Some(Stored { cost, params: params(cost, output.len()).ok()?, salt: hash.salt?, output })
}

#[cfg(test)]
mod tests {
    use super::*;

    const CHEAP: Cost = Cost { memory_kib: 64, iterations: 1, parallelism: 1 };

    fn verdict(bench: &mut Bench, password: &str, stored: &str) -> Option<Verdict> {
        bench.verify(password, &PasswordHash::new(stored)).unwrap()
    }

    #[test]
    fn a_hash_verifies_its_password_and_no_other() {
        let mut bench = Bench::new(CHEAP);
        let hash = bench.hash("correct horse battery stap").unwrap();
        assert!(hash.expose().starts_with("$argon2id$v=19$m=64,t=1,p=1$"));
        let right = bench.verify("correct horse battery stap", &hash).unwrap();
        assert_eq!(right, Some(Verdict::Right { needs_rehash: false }));
        for other in
            ["", "correct horse battery sta", "Correct horse battery stap", "correct horse battery stap "]
        {
            assert_eq!(bench.verify(other, &hash).unwrap(), Some(Verdict::Wrong));
        }
    }

    #[test]
    fn the_same_password_never_has_the_same_hash_twice() {
        let mut bench = Bench::new(CHEAP);
        assert_ne!(bench.hash("x").unwrap().expose(), bench.hash("x").unwrap().expose());
    }

    #[test]
    fn it_agrees_with_the_reference_implementation() {
        // From the test vectors of the PHC reference implementation (test.c, Argon2id, version 0x13).
        let stored = "$argon2id$v=19$m=256,t=2,p=1$c29tZXNhbHQ$nf65EOgLrQMR/uIPnA4rEsF5h7TKyQwu9U1bMCHGi/4";
        let mut bench = Bench::new(CHEAP);
        assert_eq!(verdict(&mut bench, "password", stored), Some(Verdict::Right { needs_rehash: true }));
        let lanes = "$argon2id$v=19$m=256,t=2,p=2$c29tZXNhbHQ$bQk8UB/VmZZF4Oo79iDXuL5/0ttZwg2f/5U52iv1cDc";
        assert_eq!(verdict(&mut bench, "password", lanes), Some(Verdict::Right { needs_rehash: true }));
    }

    #[test]
    fn a_hash_that_we_cannot_have_made_is_not_even_tried() {
        let mut bench = Bench::new(CHEAP);
        let tail = "$c29tZXNhbHQ$nf65EOgLrQMR/uIPnA4rEsF5h7TKyQwu9U1bMCHGi/4";
        for stored in [
            String::new(),
            "x".to_owned(),
            "$argon2id$".to_owned(),
            "$2b$12$R9h/cIPz0gi.URNNX3kh2OPST9/PgBkqquzi.Ss7KIUgO2t0jWMUW".to_owned(),
            format!("$argon2id$v=19$m=4194304,t=2,p=1{tail}"),
            format!("$argon2id$v=19$m=65537,t=2,p=1{tail}"),
            format!("$argon2id$v=19$m=256,t=11,p=1{tail}"),
            format!("$argon2id$v=19$m=256,t=2,p=5{tail}"),
            format!("$argon2id$v=19$m=0,t=2,p=1{tail}"),
            format!("$argon2id$v=19$m=256,t=0,p=1{tail}"),
            format!("$argon2id$v=19$m=256,t=2,p=0{tail}"),
            format!("$argon2id$v=19$m=256,t=2{tail}"),
            format!("$argon2id$v=19$m=256,t=2,p=1,data=AAAA{tail}"),
            format!("$argon2id$v=16$m=256,t=2,p=1{tail}"),
            format!("$argon2id$m=256,t=2,p=1{tail}"),
            format!("$argon2i$v=19$m=256,t=2,p=1{tail}"),
            format!("$argon2d$v=19$m=256,t=2,p=1{tail}"),
            "$argon2id$v=19$m=256,t=2,p=1$c29tZXNhbHQ".to_owned(),
            "$argon2id$v=19$m=256,t=2,p=1".to_owned(),
        ] {
            assert_eq!(verdict(&mut bench, "password", &stored), None, "{stored}");
        }
        assert!(!bench.is_warm());
    }

    #[test]
    fn memory_is_kept_between_hashes_and_given_back() {
        let mut bench = Bench::new(CHEAP);
        assert!(!bench.is_warm());
        bench.hash("x").unwrap();
        assert!(bench.is_warm() && bench.blocks.capacity() >= RESERVED_BLOCKS);
        let before = bench.blocks.as_ptr();
        bench.hash("y").unwrap();
        assert_eq!(bench.blocks.as_ptr(), before);
        bench.release();
        assert!(!bench.is_warm());
    }

    #[test]
    fn a_stored_hash_that_needs_more_memory_does_not_keep_it() {
        let dear = Cost { memory_kib: 1024, ..CHEAP };
        let stored = Bench::new(dear).hash("x").unwrap();
        let mut bench = Bench::new(CHEAP);
        let verdict = bench.verify("x", &stored).unwrap();
        assert_eq!(verdict, Some(Verdict::Right { needs_rehash: true }));
        assert!(!bench.is_warm());
    }
}
