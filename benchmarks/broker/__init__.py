"""A real Apache Kafka on loopback, of one broker or several, for tests, benchmarks and trying things out."""

from benchmarks.broker.cluster import Cluster as Cluster
from benchmarks.broker.cluster import missing as missing
