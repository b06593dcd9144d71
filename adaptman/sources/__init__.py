"""Where tools really live: a server that is asked, a module that is loaded. Each answers with a document."""
