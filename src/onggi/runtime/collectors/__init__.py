"""Log drivers that send what a container writes to somebody else: one small process for each container.

The supervisor never waits for a network. It hands messages to a collector, which it executes, on a
socket that is the collector's standard input; the collector sends them in the driver's form, and may
take its time: what it does not take holds the container up (``mode=blocking``) or is dropped
(``mode=non-blocking``), as the supervisor is told.

::

    supervisor ── settings, pieces ──▶ main ─▶ Collector: Syslog | Journald | Gelf | Fluentd | Splunk
                                           | AwsLogs | GcpLogs
               ◀── ready | error ────

stream   = settings { frame } ;             (to the collector, then its end)
settings = length (4 bytes, big-endian) JSON { driver, options, about: { id, name, image_id,
           image_name, command, created, tag, attributes } }
frame    = length (4) stream (1: 1 stdout, 2 stderr) nanoseconds since 1970 (8) piece
answer   = JSON { "ready": true } | { "error": text } newline

Like the supervisor it stands on the standard library and this package only; but awslogs and gcplogs
need their services' SDKs, which are found where the caller found its packages.
"""
