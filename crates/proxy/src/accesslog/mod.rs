//! Access logs: records as structures, rendered when read; formats; files.
