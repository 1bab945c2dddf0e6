//! YAML with line and column, kubectl's scalar rules, and diagnostics that show the source line.
