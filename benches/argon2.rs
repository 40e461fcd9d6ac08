//! What Argon2id alone reaches on these cores: each thread verifies one password over and over in memory of its own, at
//! the cost that is the default of the service. The yardstick of `benches/logins`.
//!
//! `cargo bench --bench argon2 -- [SECONDS]` prints hashes a second.
#![allow(clippy::unwrap_used, clippy::print_stdout, reason = "a benchmark")]

use std::{
    thread,
    time::{Duration, Instant},
};

use argon2::{Algorithm, Argon2, Block, Params, Version};

fn main() {
    let seconds = std::env::args().find_map(|argument| argument.parse().ok()).unwrap_or(5);
    let threads = thread::available_parallelism().unwrap().get();
    let params = Params::new(19_456, 2, 1, None).unwrap();
    let began = Instant::now();
    let loops: Vec<_> = (0..threads)
        .map(|_| {
            let argon2 = Argon2::new(Algorithm::Argon2id, Version::V0x13, params.clone());
            thread::spawn(move || {
                let mut memory = vec![Block::default(); argon2.params().block_count()];
                let (mut hashes, mut output) = (0_u32, [0; 32]);
                while began.elapsed() < Duration::from_secs(seconds) {
                    argon2
                        .hash_password_into_with_memory(
                            b"a long enough bench phrase",
                            &[7; 16],
                            &mut output,
                            &mut memory,
                        )
                        .unwrap();
                    hashes += 1;
                }
                hashes
            })
        })
        .collect();
    let hashes: u32 = loops.into_iter().map(|one| one.join().unwrap()).sum();
    println!("{:.1}", f64::from(hashes) / began.elapsed().as_secs_f64());
}
