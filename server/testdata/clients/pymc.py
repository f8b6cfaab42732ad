"""What pymemcache says of servers. Usage: pymc.py steps SERVER, or pymc.py spread SERVER SERVER"""
import sys
import time
import zlib
from pymemcache import serde
from pymemcache.client.base import Client, PooledClient
from pymemcache.client.hash import HashClient
from show import VALUES, said, show

mode, *servers = sys.argv[1:]
addresses = [(host, int(port)) for host, port in (server.split(":") for server in servers)]


class Compressed(serde.PickleSerde):
    """Pickles, and compresses what has at least 400 bytes."""

    FLAG = 1 << 3

    def serialize(self, key, value):
        value, flags = super().serialize(key, value)
        data = value.encode() if isinstance(value, str) else b"%d" % value if isinstance(value, int) else value
        return (zlib.compress(data), flags | self.FLAG) if len(data) >= 400 else (value, flags)

    def deserialize(self, key, value, flags):
        return super().deserialize(key, zlib.decompress(value) if flags & self.FLAG else value, flags & ~self.FLAG)


def spread():
    for name, options in {"rendezvous": {}, "pooled": {"use_pooling": True}, "prefix": {"key_prefix": b"prefix:"}}.items():
        m = HashClient(addresses, timeout=20, default_noreply=False, **options)
        keys = ["%s:%d" % (name, i) for i in range(200)]
        failed = m.set_many({key: "value of " + key for key in keys})
        show(name, failed, len(m.get_many(keys)), m.get(name + ":7"), m.delete(name + ":8"), len(m.get_many(keys)), m.delete_many([name + ":9"]), len(m.gets_many(keys)))


def steps():
    for kind in (Client, PooledClient):
        print("==", kind.__name__)
        common(kind)


def common(kind):
    m = kind(addresses[0], serde=Compressed(), timeout=20, default_noreply=False)
    show("flush", m.set("gone", 1), m.flush_all(), m.get("gone"))
    for name, value in VALUES.items():
        key = name.replace(" ", "-")
        show("set " + name, m.set(key, value), m.get(key) == value, type(m.get(key)).__name__)
    for size in (399, 400, 401, 100000):
        key = "large-%d" % size
        show(key, m.set(key, "x" * size), m.get(key) == "x" * size)
    plain = kind(addresses[0], timeout=20, default_noreply=False)
    show("plain", plain.set("plain", "y" * 100000), len(plain.get("plain")), plain.set("flags", "1", flags=4294967295), plain.get("flags"))
    show("too large", said(plain.set, "plain", "z" * 2000000), plain.get("plain"), plain.set("plain", "y"))
    show("get nothing", m.get("nothing"), m.get("nothing", "default"))

    many = {"many-%d" % i: i for i in range(300)}
    show("set_many", m.set_many(many), m.get_many(list(many)) == many)
    show("get_many", sorted(m.get_many(["many-1", "nothing", "many-2"]).items()), m.get_many(["nothing"]), m.get_many([]))
    show("gets_many", sorted((key, value, int(cas) > 0) for key, (value, cas) in m.gets_many(["many-3", "nothing"]).items()))
    show("delete_many", m.delete_many(["many-1", "nothing"]), m.get("many-1"))

    show("add", m.add("new", 1), m.add("new", 2), m.get("new"))
    show("replace", m.replace("new", 3), m.get("new"), m.replace("nothing", 3), m.get("nothing"))
    show("delete", m.delete("new"), m.delete("new"), m.get("new"))
    plain.set("s", "b")
    show("append, prepend", plain.append("s", "c"), plain.prepend("s", "a"), plain.get("s"), plain.append("nothing", "c"), plain.prepend("nothing", "c"))
    value, cas = m.gets("s")
    show("cas", value, m.cas("s", "new", cas), m.cas("s", "newer", cas), m.get("s"), m.cas("nothing", "x", cas), said(m.cas, "s", "x", "no number"), m.gets("nothing"))

    m.set("n", 10)
    show("incr, decr", m.incr("n", 1), m.incr("n", 10), m.decr("n", 6), m.decr("n", 100), plain.get("n"))
    show("incr nothing", m.incr("nothing", 1), m.decr("nothing", 1))
    m.set("n", 2**64 - 1)
    show("wrap", m.incr("n", 2), plain.get("n"))
    m.set("n", 99)
    show("wider, narrower", m.incr("n", 1), m.decr("n", 1), plain.get("n"), m.incr("n", 5))
    show("incr text", said(m.incr, "text", 1), said(m.decr, "list", 1), said(m.incr, "n", -1), m.get("text"))

    m.set("over-touched", 1)
    show("touch", m.touch("text", 1000), m.touch("nothing", 1000), m.touch("over-touched", -1), m.get("over-touched"))
    show("over", m.set("over", 1, expire=-1), m.get("over"), m.set("over", 1, expire=int(time.time()) - 100), m.get("over"), m.add("over", 2, expire=2000), m.get("over"))
    show("bad time", said(m.set, "over", 1, expire="soon"), said(m.touch, "over", 2**40), m.get("over"))

    prefixed = kind(addresses[0], key_prefix="prefix:", timeout=20, default_noreply=False)
    show("prefix", prefixed.set("k", "v"), prefixed.get("k"), prefixed.get_many(["k", "nothing"]), prefixed.set_many({"l": "w"}), m.get("prefix:l"), m.get("k"))
    for n in (243, 244, 250, 251):
        show("key of %d" % n, said(m.set, "k" * n, n), said(m.get, "k" * n), said(prefixed.set, "k" * n, "v"))
    unicode = kind(addresses[0], allow_unicode_keys=True, timeout=20, default_noreply=False)
    show("odd keys", said(m.set, "with blank", 1), said(m.set, "schl\u00fcssel", 1), unicode.set("schl\u00fcssel", "1"), unicode.get("schl\u00fcssel"))

    quiet = kind(addresses[0], timeout=20)
    show("noreply", quiet.set("q", "1"), quiet.add("q", "2"), quiet.replace("q", "3"), quiet.append("q", "4"), quiet.prepend("q", "2"), quiet.incr("q", 1), quiet.touch("q", 1000, noreply=True))
    show("noreply, more", quiet.set_many({"q-%d" % i: str(i) for i in range(500)}), quiet.delete("q-3"), quiet.delete_many(["q-4", "nothing"]), quiet.cas("q-5", "x", "1", noreply=True))
    show("noreply, after", quiet.get("q"), len(quiet.get_many(["q-%d" % i for i in range(500)])), quiet.decr("q", 1, noreply=True), quiet.get("q"))

    show("version", m.version())
    if kind is Client:
        show("stats", sorted(m.stats()))
        show("stats settings", sorted(m.stats("settings")))
        show("stats items, slabs", len(m.stats("items")) > 0, len(m.stats("slabs")) > 0, len(m.stats("cachedump", "0", "10")), said(m.stats, "nonsense"))
        show("cache_memlimit", m.cache_memlimit(64))
        show("shutdown", said(m.shutdown))
    show("quit", m.quit(), m.get("text"))


{"steps": steps, "spread": spread}[mode]()
print("done")
