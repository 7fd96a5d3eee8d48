package verdict.bench;

import java.math.BigInteger;
import java.nio.ByteBuffer;

/** The features of one payment, and its customer's new history. */
final class Features {
    static final int COUNT = 15;

    private static final long HOUR_MS = 3_600_000;
    private static final long DAY_MS = 24 * HOUR_MS;
    private static final int[] DAYS = {1, 3, 7};
    /** The longest window, and an hour for payments that come late. */
    private static final long KEPT_MS = 7 * DAY_MS + HOUR_MS;

    /** In the order of the model's input. */
    final double[] row = new double[COUNT];

    /** The customer's payments in time order: all times in milliseconds, then all cents. */
    final long[] history;

    Features(Payment payment, long[] before) {
        long at = payment.getTime().toEpochMilli();
        long cents = unscaled(payment.getAmount());
        int known = before == null ? 0 : before.length / 2;
        boolean late = known > 0 && at < before[known - 1];
        int first = late ? 0 : after(before, 0, known, at - KEPT_MS);
        int place = late ? after(before, 0, known, at) : known;
        int size = known - first + 1;
        history = new long[2 * size];
        if (known > 0) {
            System.arraycopy(before, first, history, 0, place - first);
            System.arraycopy(before, place, history, place - first + 1, known - place);
            System.arraycopy(before, known + first, history, size, place - first);
            System.arraycopy(before, known + place, history, size + place - first + 1, known - place);
        }
        int end = place - first + 1;
        history[end - 1] = at;
        history[size + end - 1] = cents;
        for (int window = 0; window < DAYS.length; window++) {
            int start = after(history, 0, end, at - DAYS[window] * DAY_MS);
            long sum = 0;
            for (int i = start; i < end; i++) {
                sum += history[size + i];
            }
            row[window] = end - start;
            row[DAYS.length + window] = (double) sum / ((end - start) * 100L);
        }
        double amount = cents / 100.0;
        double distance = payment.getDistance();
        String country = payment.getCountry();
        long hour = Math.floorMod(Math.floorDiv(at, HOUR_MS), 24L);
        row[6] = amount;
        row[7] = Math.log1p(amount);
        row[8] = hour;
        row[9] = number(hour < 6);
        row[10] = number(Math.floorMod(Math.floorDiv(at, DAY_MS) + 3, 7L) >= 5);
        row[11] = number(payment.getChannel().equals("online"));
        row[12] = number(!country.equals("BE") && !country.equals("NL"));
        row[13] = distance;
        row[14] = amount / (1 + distance);
    }

    private static long unscaled(ByteBuffer decimal) {
        byte[] bytes = new byte[decimal.remaining()];
        decimal.duplicate().get(bytes);
        return new BigInteger(bytes).longValueExact();
    }

    private static double number(boolean is) {
        return is ? 1 : 0;
    }

    /** The first of sorted times, between two places, that is later than a moment. */
    private static int after(long[] times, int from, int to, long moment) {
        int low = from;
        int high = to;
        while (low < high) {
            int middle = (low + high) >>> 1;
            if (times[middle] <= moment) {
                low = middle + 1;
            } else {
                high = middle;
            }
        }
        return low;
    }
}
