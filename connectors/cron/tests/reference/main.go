// Writes what robfig/cron v3.0.1 makes of a list of expressions; ../robfig.rs compares our answers with it.
//
//	go mod init reference && go get github.com/robfig/cron/v3@v3.0.1
//	go run main.go fires   > ../robfig-2026.tsv
//	go run main.go grammar > ../robfig-grammar.tsv    (grammar 100000: with so many random expressions)
//
// fires: expression, zone, number of fires in the zone's year 2026, FNV-1a (64 bit) over their unix seconds as eight
// little-endian bytes each, first and last fire in unix seconds.
// grammar: "yes", "no" or "panic", the same hash over the first 20 fires after the beginning of 2026 in UTC, and the
// expression as a Go string.
package main

import (
	"encoding/binary"
	"fmt"
	"hash/fnv"
	"math/rand"
	"os"
	"strconv"
	"strings"
	"time"
	_ "time/tzdata"

	"github.com/robfig/cron/v3"
)

var zones = []string{"UTC", "Europe/Berlin", "America/New_York", "Australia/Lord_Howe", "Africa/Cairo"}

var expressions = []string{
	"0 * * * *", "30 * * * *", "*/15 * * * *", "*/30 */1 * * *", "0 0-23 * * *", "45 ? * * ?", "7/20 * * * *",
	"0 0 * * *", "0 1 * * *", "30 1 * * *", "45 1 * * *", "0 2 * * *", "15 2 * * *", "30 2 * * *", "0 3 * * *",
	"30 3 * * *", "30 23 * * *", "59 23 31 12 *", "0 */2 * * *", "*/10 1-3 * * *", "5,35 0/3 * * *", "0 12 * * *",
	"0 12 * * 5", "0 12 13 * 5", "0 9-17/2 * * mon-fri", "0 0 1 * *", "0 0 31 * *", "0 0 1,15 * sun", "0 6 */2 * mon",
	"0 6 */1 * mon", "0 6 1-31 * mon", "0 6 * * */2", "0 6 , * mon", "30 2 29 mar ?", "30 1 1 nov *", "0 12 29 2 *",
	"0 12 * JAN,Jul Sat", "*-5 4 1 */3 *", "+5 +4 * * *", "0,,30 5 * * *", "@yearly", "@annually", "@monthly",
	"@weekly", "@daily", "@midnight", "@hourly",
}

func fires() {
	for _, zone := range zones {
		location, err := time.LoadLocation(zone)
		if err != nil {
			panic(err)
		}
		end := time.Date(2027, 1, 1, 0, 0, 0, 0, location)
		for _, expression := range expressions {
			schedule, err := cron.ParseStandard("TZ=" + zone + " " + expression)
			if err != nil {
				panic(err)
			}
			count, first, last, hash := 0, int64(0), int64(0), fnv.New64a()
			t := time.Date(2025, 12, 31, 23, 59, 59, 0, location)
			for t = schedule.Next(t); !t.IsZero() && t.Before(end); t = schedule.Next(t) {
				if last = t.Unix(); count == 0 {
					first = last
				}
				count++
				hash.Write(binary.LittleEndian.AppendUint64(nil, uint64(last)))
			}
			fmt.Printf("%s\t%s\t%d\t%016x\t%d\t%d\n", expression, zone, count, hash.Sum64(), first, last)
		}
	}
}

var oddities = []string{
	"* * * *", "* * * * * *", "+1 * * * *", "*-99 * * * *", "*-x-y * * * *", "?-1/2 * * * *", "-1 * * * *", "1- * * * *",
	"*/0 * * * *", "*/-1 * * * *", "*/+2 * * * *", "*/ * * * *", "/5 * * * *", "1/2/3 * * * *", "1-2-3 * * * *",
	"5-1 * * * *", "60 * * * *", "59/1 * * * *", "60/5 * * * *", "* 24 * * *", "* * 0 * *", "* * 32 * *", "* * * 0 *",
	"* * * 13 *", "* * * * 7", "* * * * 0-7", "* * * * mOn-frI", "* * * * fri-mon", "* * * * monday", "* * * jan *",
	"* * * 1-feb *", "* * * january *", "jan * * * *", "* * * * L", "* * L * *", "* * 1W * *", "* * * * 5#2", "H * * * *",
	"* * * * *L", "** * * * *", "*,* * * * *", ", , , , ,", "1,,2 * * * *", "007 * * * *", "0x1 * * * *", "1_0 * * * *",
	"1.0 * * * *", "*/9223372036854775807 * * * *", "*/9223372036854775808 * * * *", "\u0661 * * * *", "* * * *\u00a0*",
	"*\u2003* * * *", "*\u200b* * * *", "@hourly", "@HOURLY", "@reboot", "@", "@daily 1", "@every", "@every ", "@every 5m",
	"@every  5m", "@every 5", "@every 0", "@every -0", "@every -5m", "@every +5m", "@every 1.5h30m", "@every .5m",
	"@every .m", "@every 1.", "@every 5.s", "@every 100us", "@every 100\u00b5s", "@every 100\u03bcs", "@every 1d",
	"@every 1H", "@every 2562047h47m16s", "@every 2562047h47m17s", "@every 9223372036854775807ns",
	"@every 9223372036854775808ns", "@every -9223372036854775808ns", "@every 99999999999999999999h", "@EVERY 5m",
	"@every 0.1111111111111111111111111h", "@every 1h 5m", "TZ=UTC", "TZ=", "TZ= * * * * *", "TZ=UTC * * * * *",
	"TZ=UTC   @daily", "TZ=UTC @every 1m", "CRON_TZ=Asia/Tokyo 0 0 * * *", "CRON_TZ=Asia/Tokyo", "TZ=Mars/Base * * * * *",
	"TZ=Local * * * * *", "TZ=UTC\t* * * * *", "tz=UTC * * * * *", "TZ=UTC TZ=UTC * * * * *", "TZ =UTC * * * * *",
	"TZ=../UTC * * * * *", "TZ=/etc/localtime * * * * *", "TZ=CET-1CEST * * * * *", "TZ=EST5EDT * * * * *", "TZ=UTC * * * *",
}

// random returns an expression that is often nearly right.
func random(r *rand.Rand) string {
	atoms := strings.Split("* ? 0 1 2 5 6 7 12 13 23 24 31 32 59 60 / / - - , , jan Dec mon SUN + L # @", " ")
	fields := make([]string, 5)
	for i := range fields {
		for n := 1 + r.Intn(4); n > 0; n-- {
			fields[i] += atoms[r.Intn(len(atoms))]
		}
		if r.Intn(6) > 0 {
			fields[i] = []string{"*", "0", "1-5", "*/2", "3,6"}[r.Intn(5)]
		}
	}
	return strings.Join(fields, " ")
}

func grammar(randoms int) {
	list := append([]string{}, oddities...)
	for r := rand.New(rand.NewSource(1)); randoms > 0; randoms-- {
		list = append(list, random(r))
	}
	for _, expression := range list {
		answer, hash := parse(expression)
		fmt.Printf("%s\t%016x\t%s\n", answer, hash, strconv.QuoteToASCII(expression))
	}
}

func parse(expression string) (answer string, sum uint64) {
	hash := fnv.New64a()
	defer func() {
		if recover() != nil {
			answer, sum = "panic", hash.Sum64()
		}
	}()
	schedule, err := cron.ParseStandard(expression)
	if err != nil {
		return "no", hash.Sum64()
	}
	t := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
	for n := 0; n < 20; n++ {
		if t = schedule.Next(t); t.IsZero() || t.Year() > 9999 {
			break
		}
		hash.Write(binary.LittleEndian.AppendUint64(nil, uint64(t.Unix())))
	}
	return "yes", hash.Sum64()
}

func main() {
	time.Local = time.UTC
	switch strings.Join(os.Args[1:], " ") {
	case "fires":
		fires()
	case "grammar":
		grammar(150)
	default:
		randoms, err := strconv.Atoi(os.Args[2])
		if err != nil {
			panic(err)
		}
		grammar(randoms)
	}
}
