"""This machine: Java, jars, a broker, a folder for caches."""  # noqa: D404
