"""Topics, of Apache Kafka or in a folder, as sources and sinks; a client library is loaded when one is opened."""
