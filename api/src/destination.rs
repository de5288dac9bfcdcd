//! `Destination`: endpoints and profiles.
