package pmctl;

import java.io.BufferedReader;
import java.io.InputStreamReader;
import org.springframework.boot.SpringApplication;
import org.springframework.boot.autoconfigure.SpringBootApplication;
import org.springframework.cloud.client.loadbalancer.LoadBalanced;
import org.springframework.context.annotation.Bean;
import org.springframework.web.client.RestClient;

/**
 * A service of Spring Cloud that calls others by their names. Each line of standard input is a URL
 * to get; its answer is one line of standard output. The end of the input is its own end.
 */
@SpringBootApplication
public class Consumer {
    public static void main(String[] args) throws Exception {
        var input = new BufferedReader(new InputStreamReader(System.in));
        try (var context = SpringApplication.run(Consumer.class, args)) {
            var client = context.getBean(RestClient.Builder.class).build();
            for (var url = input.readLine(); url != null; url = input.readLine()) {
                System.out.println(get(client, url));
            }
        }
    }

    private static String get(RestClient client, String url) {
        try {
            return client.get().uri(url).retrieve().body(String.class);
        } catch (RuntimeException failure) {
            return "failed: " + failure;
        }
    }

    @Bean
    @LoadBalanced
    RestClient.Builder clients() {
        return RestClient.builder();
    }
}
