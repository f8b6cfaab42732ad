package protocol

import "testing"

func TestDumpLines(t *testing.T) {
	key := []byte("a/b \xffZ9-._~")
	it := MetaItem{Size: 3, Flags: 5, Unique: 9, TTL: 30, LastAccess: 7}
	forever := MetaItem{TTL: -1, Fetched: true}
	for _, test := range []struct{ got, want string }{
		{string(AppendMetadump(nil, key, &it, 1000)), "key=a%2Fb%20%FFZ9-._~ exp=1030 la=993 cas=9 fetch=no cls=1 size=77 flags=5 \n"},
		{string(AppendMetadump(nil, key, &forever, 1000)), "key=a%2Fb%20%FFZ9-._~ exp=-1 la=1000 cas=0 fetch=yes cls=1 size=70 flags=0 \n"},
		{string(AppendMgdump(nil, []byte("foo"), false)), "mg foo\r\n"},
		{string(AppendMgdump(nil, []byte("foo"), true)), "mg Zm9v b\r\n"},
		{string(AppendCachedump(nil, []byte("foo"), &it, 1000)), "ITEM foo [3 b; 1030 s]\r\n"},
		{string(AppendCachedump(nil, []byte("foo"), &forever, 1000)), "ITEM foo [0 b; 0 s]\r\n"},
		{string(AppendPrefix(nil, "p", 1, 2, 3, 4)), "PREFIX p get 1 hit 2 set 3 del 4\r\n"},
	} {
		if test.got != test.want {
			t.Errorf("got %q, want %q", test.got, test.want)
		}
	}
}
