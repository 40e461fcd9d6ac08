//! No caller can hurt the others: what one user may ask for, and what is left for everybody else.

mod departed;
mod quota;
mod terms;
