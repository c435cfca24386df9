"""The Beam pipeline: files of examples in, an attribution store out. Everything that imports Apache Beam lives here."""
