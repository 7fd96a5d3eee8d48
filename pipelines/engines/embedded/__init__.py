"""One Python process, no JVM."""
