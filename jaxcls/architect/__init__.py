"""`jaxcls nas`: a supernet with its controller, the net that it chooses, and nets to hold it against (docs/nas.md)."""
