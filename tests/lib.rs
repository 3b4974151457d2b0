//! Starts and stops the broker under test.
