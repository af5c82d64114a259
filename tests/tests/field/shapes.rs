//! Networks of odd shapes.
