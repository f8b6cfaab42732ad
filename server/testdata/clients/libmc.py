"""What pylibmc says of servers. Usage: libmc.py binary|text steps SERVER, or libmc.py binary|text spread SERVER SERVER"""
import random
import sys
import time
import pylibmc
from show import VALUES, said, show

protocol, mode, *servers = sys.argv[1:]


def client(**behaviors):
    return pylibmc.Client(servers, binary=protocol == "binary", behaviors={"tcp_nodelay": True, "_poll_timeout": 20000, **behaviors})


def spread():
    kinds = {"modula": {}, "md5": {"hash": "md5"}, "fnv": {"hash": "fnv1a_32"}, "murmur": {"hash": "murmur"}, "consistent": {"distribution": "consistent"},
             "ketama": {"ketama": True}, "weighted": {"ketama_weighted": True, "hash": "md5"}, "spy": {"distribution": "consistent ketama spy"}}
    for name, behaviors in kinds.items():
        m = client(**behaviors)
        keys = ["%s:%d" % (name, i) for i in range(200)]
        failed = m.set_multi({key: "value of " + key for key in keys})
        show(name, failed, len(m.get_multi(keys)), m.get(name + ":7"), m.delete(name + ":8"), len(m.get_multi(keys)))


def steps():
    m = client(cas=True)
    show("flush", m.set("gone", 1), m.flush_all(), m.get("gone"))
    for name, value in VALUES.items():
        key = name.replace(" ", "-")
        show("set " + name, m.set(key, value), m.get(key) == value, type(m.get(key)).__name__)
    for size in (99, 100, 101, 5000, 100000):  # on both sides of the least size that is compressed
        key = "large-%d" % size
        show(key, m.set(key, "x" * size, min_compress_len=100), m.get(key) == "x" * size)
    show("compressed list", m.set("large-list", list(range(3000)), min_compress_len=100, compress_level=9), m.get("large-list") == list(range(3000)))
    noise = random.Random(1).randbytes(300000)
    show("noise", m.set("noise", noise), m.get("noise") == noise, m.set("noise", noise, min_compress_len=100), m.get("noise") == noise)
    show("large", m.set("large", "y" * 1000000), len(m.get("large")))
    show("too large", said(m.set, "large", "z" * 1048500), said(m.set, "text", "z" * 3000000), said(m.get, "text"), m.set("text", "text"))
    show("get nothing", m.get("nothing"), m.get("nothing", "default"))

    many = {"many-%d" % i: i for i in range(300)}
    show("set_multi", m.set_multi(many), m.get_multi(list(many)) == many)
    show("get_multi", sorted(m.get_multi(["many-1", "nothing", "many-2"]).items()), m.get_multi(["nothing"]))
    show("with a prefix", m.set_multi({"a": "1", "b": [2]}, key_prefix="p-", time=1000), sorted(m.get_multi(["a", "b", "c"], key_prefix="p-").items()), m.get("p-a"))
    show("add_multi", sorted(m.add_multi({"many-1": 0, "many-new": 1})), m.get("many-1"), m.get("many-new"))
    show("delete_multi", m.delete_multi(["many-1", "many-2"]), m.get("many-1"), said(m.delete_multi, ["many-1", "many-3"]))
    show("incr_multi", said(m.incr_multi, ["many-4", "many-5"], delta=10), m.get("many-4"), said(m.incr_multi, ["many-4", "nothing"]))

    show("add", m.add("new", 1), m.add("new", 2), m.get("new"))
    show("replace", m.replace("new", 3), m.get("new"), said(m.replace, "nothing", 3), m.get("nothing"))
    show("delete", m.delete("new"), said(m.delete, "new"), m.get("new"))
    m.set("s", b"b")
    show("append, prepend", m.append("s", b"c"), m.prepend("s", b"a"), m.get("s"))
    show("append to nothing", said(m.append, "nothing", b"c"), said(m.prepend, "nothing", b"c"), m.get("nothing"))

    value, cas = m.gets("s")
    show("gets", value, cas > 0, said(m.gets, "nothing"))
    show("cas", m.cas("s", "new", cas), said(m.cas, "s", "newer", cas), m.get("s"), said(m.cas, "nothing", "x", cas))

    m.set("n", 10)
    show("incr, decr", m.incr("n"), m.incr("n", 10), m.decr("n", 6), m.decr("n", 100), m.get("n"))
    show("incr nothing", said(m.incr, "nothing"), said(m.decr, "nothing"), m.get("nothing"))
    m.set("n", 2**64 - 1)
    show("wrap", said(m.incr, "n", 2), m.get("n"))
    m.set("n", 99)
    show("wider, narrower", m.incr("n"), m.decr("n"), m.get("n"), m.incr("n", 5))
    show("incr text", said(m.incr, "text"), said(m.decr, "list"), m.get("text"))

    m.set("over-touched", 1)
    show("touch", m.touch("text", 1000), said(m.touch, "nothing", 1000), m.touch("over-touched", int(time.time()) - 100000), m.get("over-touched"))
    show("over", m.set("over", 1, time=int(time.time()) - 100000), m.get("over"), m.add("over", 2, time=2000), m.get("over"))

    for n in (249, 250, 251, 1000):
        show("key of %d" % n, said(m.set, "k" * n, n), said(m.get, "k" * n))
    show("odd keys", said(m.set, "schl\u00fcssel", 1), said(m.get, "schl\u00fcssel"), said(m.get_multi, ["", "text"]))
    if protocol == "binary":  # in text the library aborts
        show("blank", m.set("with blank", 1), m.get("with blank"), m.get_multi(["with blank"]))
    ways = {"no_block": {"no_block": True}, "buffered": {"buffer_requests": True, "no_block": True}}
    if protocol == "text":
        ways["verified"] = {"verify_keys": True}
    for name, behaviors in ways.items():
        other = client(**behaviors)
        answers = {said(other.set, "%s-%d" % (name, i), i) for i in range(300)}
        show(name, answers, len(other.get_multi(["%s-%d" % (name, i) for i in range(300)])), other.get(name + "-7"), said(other.set, "k" * 251, 1))
    if protocol == "text":
        other = client(_noreply=True)
        for i in range(300):
            other.set("noreply-%d" % i, i)
        other.delete("noreply-3")
        other.add("noreply-4", "not added")
        other.incr("noreply-5")
        show("noreply", len(other.get_multi(["noreply-%d" % i for i in range(300)])), other.get("noreply-4"), m.get("noreply-5"))
    replicas = client(num_replicas=1)
    show("replica", replicas.set("replica", 1), replicas.get("replica"))

    name, stats = m.get_stats()[0]
    show("stats", sorted(stats))
    m.disconnect_all()
    show("again", m.get("s"))


{"steps": steps, "spread": spread}[mode]()
print("done")
